//! A pool that is asked for when rayon has a global one already.

use wengert_tensor::parallel;

#[test]
fn a_global_pool_of_another_size_stays_what_it_is() {
    let global = rayon_core::ThreadPoolBuilder::new().num_threads(3);
    global.build_global().expect("the first");
    parallel::set_threads(2).expect("nobody asked before");
    assert_eq!(parallel::threads(), 2);
    let sum = std::sync::atomic::AtomicUsize::new(0);
    parallel::install(|| {
        parallel::tasks(9, |i| {
            sum.fetch_add(i, std::sync::atomic::Ordering::Relaxed);
        })
    });
    assert_eq!((sum.into_inner(), parallel::threads()), (36, 2));
    assert_eq!(rayon_core::current_thread_index(), Some(0));
    let other = std::thread::spawn(|| (parallel::threads(), rayon_core::current_num_threads()));
    assert_eq!(other.join().expect("no panic"), (3, 3));
}

//! A pool that is asked for is built when something is large enough for it.

use std::sync::atomic::{AtomicUsize, Ordering};
use wengert_tensor::parallel;

#[test]
fn the_pool_is_built_at_first_need() {
    let ran = AtomicUsize::new(0);
    let tasks = |n| {
        parallel::tasks(n, |_| {
            ran.fetch_add(1, Ordering::Relaxed);
        })
    };
    assert!(parallel::set_threads(0).is_err(), "no threads at all");
    parallel::set_threads(2).expect("nobody asked before");
    assert!(parallel::set_threads(2).is_err(), "asked for twice");
    tasks(1);
    assert_eq!(parallel::alone(parallel::threads), 1);
    let small = rayon_core::current_thread_index();
    assert_eq!(
        (parallel::threads(), small),
        (2, None),
        "a pool for one task"
    );
    assert!(parallel::inside(), "the thread that will be in the pool");
    let other = std::thread::spawn(|| (parallel::threads(), parallel::inside()));
    assert_eq!(other.join().expect("no panic"), (2, false));

    tasks(9);
    let large = rayon_core::current_thread_index();
    assert_eq!((parallel::threads(), large), (2, Some(0)));
    assert_eq!(rayon_core::current_num_threads(), 2);
    let other = std::thread::spawn(|| (parallel::threads(), rayon_core::current_thread_index()));
    assert_eq!(
        other.join().expect("no panic"),
        (2, None),
        "the global pool"
    );
    let (two, one) = parallel::join(|| 2, || 1);
    parallel::install(|| tasks(5));
    assert_eq!((two, one, ran.into_inner()), (2, 1, 15));
    assert!(
        parallel::set_global_threads(2).is_err(),
        "the pool is there"
    );
}

//! A run does not grow: the bytes in use after step 100 are those after step 3000.

mod common;
use common::{Batch, digits, model};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use wengert_data::LoaderState;
use wengert_nn::loss::CrossEntropy;
use wengert_optim::Adam;
use wengert_optim::wrappers::Ema;
use wengert_train::metric::Accuracy;
use wengert_train::{Source, Trainer};

thread_local! {
    static LIVE: Cell<i64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = LIVE.try_with(|l| l.set(l.get() + layout.size() as i64));
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, p: *mut u8, layout: Layout) {
        let _ = LIVE.try_with(|l| l.set(l.get() - layout.size() as i64));
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(p, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One batch, again and again.
struct Same(Batch);

impl Source<Batch> for Same {
    fn batches(&self) -> usize {
        3000
    }
    fn epoch(
        &self,
        _: u64,
        skip: usize,
    ) -> Box<dyn Iterator<Item = wengert_data::Result<Batch>> + '_> {
        Box::new((skip..3000).map(|_| Ok(self.0.clone())))
    }
    fn state(&self, epoch: u64, batch: u64) -> LoaderState {
        LoaderState::from_words([0, epoch, batch, 1, 0, 0])
    }
}

#[test]
fn a_run_does_not_grow() {
    let set = digits(16);
    let set = Same((set.inputs, set.labels));
    let seen = Cell::new([0; 2]);
    let mut t = Trainer::new(model(1), CrossEntropy::default(), Adam::new(1e-4))
        .metric(Accuracy::new())
        .clip_norm(1.0)
        .ema(Ema::new(0.99))
        .on_step(|run, _| {
            let live = LIVE.with(Cell::get);
            match run.step {
                100 => seen.set([live, 0]),
                3000 => seen.set([seen.get()[0], live]),
                _ => {}
            }
            Ok(())
        });
    t.fit(&set, None, 1).unwrap();
    drop(t);
    let [early, late] = seen.get();
    assert!(early > 0);
    assert_eq!(early, late);
}

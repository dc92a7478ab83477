//! Every option of every layer in each meaningful value, and the usual combinations: values and gradients against
//! PyTorch, derivatives of orders 1 and 2 by inputs and parameters ([`Case::run`](crate::common::Case::run) does both).

mod complete;
mod maps;
mod norms;
mod pools;
mod random;
mod sequences;

/// Runs every case of this folder.
pub fn all() {
    std::thread::scope(|s| {
        for f in [
            maps::run as fn(),
            maps::blocks,
            pools::run,
            norms::run,
            sequences::attention,
            sequences::recurrent,
        ] {
            s.spawn(f);
        }
    });
}

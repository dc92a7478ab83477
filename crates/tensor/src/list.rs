//! Short lists out of iterators.

use smallvec::{Array, SmallVec};

/// `collect` for short lists with the iterator's code in it once. That of `SmallVec` has it twice, for the elements before
/// and behind the first growth, which was a good part of the code of small operations.
pub trait Listed: Iterator + Sized {
    /// All elements, in their order.
    #[inline]
    fn listed<A: Array<Item = Self::Item>>(self) -> SmallVec<A> {
        let mut list = SmallVec::new();
        for x in self {
            list.push(x);
        }
        list
    }
}

impl<I: Iterator> Listed for I {}

//! A model of the façade, saved and loaded.

use wengert::prelude::*;

#[test]
fn a_sequential_model_comes_back() {
    let build = |seed| -> Sequential {
        Sequential::builder()
            .linear(4, 8)
            .relu()
            .linear(8, 3)
            .build(&mut Xoshiro256PlusPlus::seed_from_u64(seed))
    };
    let model = build(1);
    let mut other = build(2);
    let bytes = model.to_bytes().unwrap();
    assert_ne!(other.to_bytes().unwrap(), bytes);
    let report = other.load_bytes(&bytes, &LoadOptions::strict()).unwrap();
    assert_eq!(report.loaded.len(), 4);
    assert_eq!(other.to_bytes().unwrap(), bytes);
}

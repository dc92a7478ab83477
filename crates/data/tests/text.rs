//! Characters, windows, lanes.
#![cfg(feature = "gzip")]

mod common;
use common::{TempDir, gzip};
use wengert_data::{DataLoader, Dataset, Error, Position, Text, Vocabulary};

#[test]
fn vocabulary_both_ways() {
    let v = Vocabulary::of("hé llo\n").unwrap();
    assert_eq!(v.chars(), ['\n', ' ', 'h', 'l', 'o', 'é']);
    assert_eq!(
        v.encode("hello é".trim_start_matches("hel"))
            .unwrap()
            .to_vec(),
        [3, 4, 1, 5]
    );
    assert_eq!(v.decode([2, 5, 0]).unwrap(), "hé\n");
    assert!(
        v.encode("x\u{1b}")
            .err()
            .unwrap()
            .to_string()
            .contains("character 0, 'x'")
    );
    for bad in [-1, 6, i64::MAX, i64::MIN] {
        assert!(matches!(v.decode([bad]), Err(Error::Value { .. })));
    }
    assert!(Text::with_vocabulary("abc", v).is_err());
    assert!(Text::new("").unwrap().is_empty());
}

#[test]
fn windows_are_shifted_by_one() {
    let text = Text::new("abcdefghij").unwrap();
    let w = text.windows(3, 2).unwrap();
    assert_eq!(w.len(), 4);
    for i in 0..4 {
        let (x, y) = w.get(i).unwrap();
        let at = 2 * i as i64;
        assert_eq!(
            (x.to_vec(), y.to_vec()),
            (vec![at, at + 1, at + 2], vec![at + 1, at + 2, at + 3])
        );
    }
    assert!(w.get(4).is_err() && w.batch(&[0, 4], None).is_err());
    assert_eq!(text.windows(9, 1).unwrap().len(), 1);
    assert_eq!(text.windows(10, 1).unwrap().len(), 0);
    assert_eq!(text.windows(usize::MAX, 1).unwrap().len(), 0);
    assert_eq!(text.windows(3, usize::MAX).unwrap().len(), 1);
    assert!(text.windows(0, 1).is_err() && text.windows(1, 0).is_err());
    assert_eq!(Text::new("").unwrap().windows(1, 1).unwrap().len(), 0);
}

#[test]
fn lanes_continue_from_batch_to_batch() {
    let letters: String = (0..100u8).map(|i| char::from(b' ' + i % 95)).collect();
    let text = Text::new(&letters).unwrap();
    let set = text.lanes(3, 4).unwrap();
    assert_eq!(set.len(), 3 * 8);
    // Lanes are different stretches: no character stands in two windows.
    let distinct: String = (0..100)
        .map(|i| char::from_u32(0x100 + i).unwrap())
        .collect();
    let wide = Text::new(&distinct).unwrap().lanes(3, 4).unwrap();
    let mut tokens: Vec<i64> = (0..wide.len())
        .flat_map(|i| wide.get(i).unwrap().0.to_vec())
        .collect();
    tokens.sort_unstable();
    assert_eq!(tokens, (0..96).collect::<Vec<_>>());
    let mut last: Option<Vec<i64>> = None;
    for (x, y) in &DataLoader::new(set, 3) {
        if let Some(last) = last {
            // The input begins where the target of the batch before ended.
            assert_eq!((0..3).map(|i| x.get(&[i, 0])).collect::<Vec<_>>(), last);
        }
        last = Some((0..3).map(|i| y.get(&[i, 3])).collect());
    }
    assert_eq!(text.lanes(50, 4).unwrap().len(), 0);
    assert!(text.lanes(0, 4).is_err() && text.lanes(4, 0).is_err());
    // The last window ends at the last character at most.
    for n in 0..40 {
        let text = Text::new(&letters[..n]).unwrap();
        for lanes in 1..5 {
            let set = text.lanes(lanes, 3).unwrap();
            (0..set.len()).for_each(|i| drop(set.get(i).unwrap()));
        }
    }
}

#[test]
fn parts_share_the_vocabulary() {
    let text = Text::new("aaaaaaabbb").unwrap();
    let (a, b) = text.split(0.7).unwrap();
    assert_eq!((a.len(), b.len()), (7, 3));
    assert_eq!(b.tokens().to_vec(), [1, 1, 1]);
    assert_eq!(b.windows(2, 1).unwrap().get(0).unwrap().0.to_vec(), [1, 1]);
    assert_eq!(b.split(0.5).unwrap().0.len(), 2);
    assert!(text.split(1.1).is_err() && text.split(f64::NAN).is_err());
}

#[test]
fn files() {
    let dir = TempDir::new();
    assert_eq!(Text::read(dir.put("a.txt", b"abc")).unwrap().len(), 3);
    assert_eq!(
        Text::read(dir.put("a.txt.gz", &gzip(b"abcd")))
            .unwrap()
            .len(),
        4
    );
    match Text::read(dir.put("b.txt", b"ab\xffc")) {
        Err(Error::Format { at, .. }) => assert_eq!(at, Position::Byte(2)),
        _ => panic!("accepted"),
    }
    assert!(matches!(
        Text::read(dir.path().join("none")),
        Err(Error::Io { .. })
    ));
}

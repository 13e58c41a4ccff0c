use super::*;
use crate::test_support::{Folder, VOLUME, root};

fn open(folder: &Folder) -> Result<AnchorFile, AnchorError> {
    AnchorFile::open(&folder.path("anchors"), VOLUME)
}

#[test]
fn an_anchor_is_kept_and_never_goes_back() {
    let folder = Folder::new();
    let mut anchor = open(&folder).unwrap();
    assert_eq!(anchor.last(), None);
    for counter in [1, 2, 3, 4, 9, 5] {
        anchor.advance(VOLUME, counter, &root(counter)).unwrap();
        let again = open(&folder).unwrap().last();
        assert_eq!(again, anchor.last());
    }
    assert_eq!(anchor.last(), Some(Anchor { counter: 9, root: digest(&root(9)) }));
}

#[test]
fn a_write_that_was_cut_off_leaves_the_one_before() {
    let folder = Folder::new();
    let mut anchor = open(&folder).unwrap();
    anchor.advance(VOLUME, 1, &root(1)).unwrap();
    let before = std::fs::read(&anchor.path).unwrap();
    anchor.advance(VOLUME, 2, &root(2)).unwrap();
    let after = std::fs::read(&anchor.path).unwrap();
    let mut old = 0;
    for cut in 0..SLOT {
        // The second is written to the front, where nothing was yet.
        let torn: Vec<u8> = after.iter().take(cut).chain(before.iter().skip(cut)).copied().collect();
        std::fs::write(&anchor.path, torn).unwrap();
        match open(&folder).unwrap().last().map(|anchor| anchor.counter) {
            Some(1) => old += 1,
            Some(2) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(old > 80, "{old}");
}

#[test]
fn a_damaged_anchor_is_not_taken_for_none() {
    let folder = Folder::new();
    let mut anchor = open(&folder).unwrap();
    anchor.advance(VOLUME, 4, &root(4)).unwrap();
    let good = std::fs::read(&anchor.path).unwrap();
    let line = good.iter().position(|byte| *byte == b'\n').unwrap();
    for at in 0..line {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        std::fs::write(&anchor.path, bytes).unwrap();
        assert!(matches!(open(&folder), Err(AnchorError::Damaged(_))), "byte {at}");
    }
    std::fs::write(&anchor.path, &good).unwrap();
    let other = VolumeId::new([1; 16]);
    std::fs::rename(&anchor.path, folder.path("anchors").join(other.to_string())).unwrap();
    assert!(matches!(AnchorFile::open(&folder.path("anchors"), other), Err(AnchorError::Damaged(_))));
}

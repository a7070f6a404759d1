//! Packs: what is put comes back, and nothing else does.

use bytes::Bytes;
use schemas::cbor::sha256;
use schemas::id::Digest;

use super::{Extent, ObjectError, Objects};

fn object(text: &'static str) -> (Digest, Bytes) {
    (sha256(text.as_bytes()), Bytes::from_static(text.as_bytes()))
}

#[tokio::test]
async fn each_object_of_a_pack_comes_back_and_again_is_harmless() {
    let folder = tempfile::tempdir().expect("a folder");
    let objects = Objects::open(&folder.path().display().to_string()).expect("a store");
    let put = [object("first"), object(""), object("third and longest")];
    let extents = objects.pack(&put).await.expect("put");
    assert_eq!(objects.pack(&put).await.expect("put again"), extents);
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1, "one file for all");
    for ((key, bytes), extent) in put.iter().zip(&extents).filter(|((_, bytes), _)| !bytes.is_empty()) {
        assert_eq!(objects.get_from(extent, key).await.as_ref(), Ok(bytes));
    }
    assert_eq!(objects.pack(&[]).await, Ok(Vec::new()));
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1, "nothing is put for nothing");
}

#[tokio::test]
async fn other_bytes_are_never_given_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let objects = Objects::open(&folder.path().display().to_string()).expect("a store");
    let put = [object("first"), object("second")];
    let extents = objects.pack(&put).await.expect("put");
    let [first, second] = extents.as_slice() else { panic!("two") };
    let key = &put[0].0;
    assert_eq!(objects.get_from(second, key).await, Err(ObjectError::Corrupt(*key)));
    let beyond = Extent { length: u64::MAX, ..*first };
    assert!(objects.get_from(&beyond, key).await.is_err());
    let path = folder.path().join(format!("{}.pack", first.pack));
    let mut bytes = std::fs::read(&path).expect("the pack");
    bytes[0] ^= 1;
    std::fs::write(&path, &bytes).expect("written");
    assert_eq!(objects.get_from(first, key).await, Err(ObjectError::Corrupt(*key)));
    std::fs::write(&path, &bytes[..3]).expect("written");
    assert!(objects.get_from(first, key).await.is_err(), "cut off");
    std::fs::remove_file(&path).expect("removed");
    assert_eq!(objects.get_from(first, key).await, Err(ObjectError::Absent(*key)));
}

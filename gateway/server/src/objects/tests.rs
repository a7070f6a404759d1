//! A folder that goes away and comes back: nothing is put beside it, nothing in it is taken for absent.

use bytes::Bytes;
use schemas::cbor::sha256;

use super::{ObjectError, Objects};

#[tokio::test]
async fn a_folder_that_is_away_is_neither_made_anew_nor_taken_for_empty() {
    let folder = tempfile::tempdir().expect("a folder");
    let (here, away) = (folder.path().join("objects"), folder.path().join("away"));
    let objects = Objects::open(here.to_str().expect("text")).expect("opens");
    let (first, second) = (Bytes::from_static(b"first"), Bytes::from_static(b"second"));
    objects.put(&sha256(&first), first.clone()).await.expect("put");
    std::fs::rename(&here, &away).expect("moved");
    // a disk that is not mounted leaves its empty folder behind
    for made in [false, true] {
        if made {
            std::fs::create_dir(&here).expect("made");
        }
        assert_eq!(objects.put(&sha256(&second), second.clone()).await, Err(ObjectError::Away { doing: "put" }));
        assert_eq!(objects.get(&sha256(&first)).await, Err(ObjectError::Away { doing: "get" }));
        assert_eq!(objects.ping().await, Err(ObjectError::Away { doing: "ping" }));
    }
    std::fs::remove_dir(&here).expect("still empty");
    std::fs::rename(&away, &here).expect("moved back");
    objects.ping().await.expect("there again");
    assert_eq!(objects.get(&sha256(&first)).await.expect("there"), first);
    objects.put(&sha256(&second), second.clone()).await.expect("put");
    let absent = sha256(b"never put");
    assert_eq!(objects.get(&absent).await, Err(ObjectError::Absent(absent)));
}

use std::ffi::CString;
use std::io::ErrorKind::{AlreadyExists, FileTooLarge, InvalidData, InvalidInput, NotFound};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;

use super::*;

fn fifo(path: &Path) {
    let name = CString::new(path.as_os_str().as_bytes()).unwrap();
    // SAFETY: `name` is a C string that lives until the call returns.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
}

#[test]
fn whatever_is_not_a_regular_file_is_refused_at_once_and_by_its_kind() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fifo(&at("fifo"));
    let _listener = UnixListener::bind(at("socket")).unwrap();
    symlink("/dev/zero", at("link-to-device")).unwrap();
    for (path, what) in [
        (at("fifo"), "a FIFO"),
        (at("socket"), "a socket"),
        (at("link-to-device"), "a device"),
        (folder.path().to_owned(), "a directory"),
    ] {
        let error = read(&path, Links::Follow, 10).unwrap_err();
        assert_eq!(error.kind(), InvalidInput, "{}", path.display());
        assert!(error.to_string().contains(what), "{}: {error}", path.display());
    }
    assert_eq!(read(&at("nothing"), Links::Follow, 10).unwrap_err().kind(), NotFound);
}

#[test]
fn links_are_followed_only_where_the_caller_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("file"), "text").unwrap();
    symlink("file", at("link")).unwrap();
    assert_eq!(read(&at("link"), Links::Follow, 10).unwrap(), b"text");
    assert_eq!(read(&at("file"), Links::Refuse, 10).unwrap(), b"text");
    let error = read(&at("link"), Links::Refuse, 10).unwrap_err();
    assert_eq!(error.to_string(), "it is a symbolic link; allowed: a regular file");
}

#[test]
fn a_file_is_read_up_to_its_limit_and_not_beyond() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::fs::write(&path, "text").unwrap();
    assert_eq!(read_to_string(&path, Links::Follow, 4).unwrap(), "text");
    let error = read(&path, Links::Follow, 3).unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string().as_str()),
        (FileTooLarge, "it is larger than 3 bytes")
    );

    // 20 GB that take no room.
    File::create(&path).unwrap().set_len(20 << 30).unwrap();
    assert_eq!(read(&path, Links::Follow, 1 << 20).unwrap_err().kind(), FileTooLarge);
    std::fs::write(&path, [0xff]).unwrap();
    assert_eq!(read_to_string(&path, Links::Follow, 4).unwrap_err().kind(), InvalidData);
}

#[test]
fn a_file_is_replaced_through_links_and_nothing_else_is() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().canonicalize().unwrap();
    let at = |name: &str| folder.join(name);
    std::fs::write(at("file"), "x").unwrap();
    symlink(at("file"), at("link")).unwrap();
    fifo(&at("fifo"));
    symlink(at("fifo"), at("link-to-fifo")).unwrap();
    for (path, target) in [("file", "file"), ("new", "new"), ("link", "file")] {
        assert_eq!(replaceable(&at(path)).unwrap(), at(target));
    }
    for path in [
        at("fifo"),
        at("link-to-fifo"),
        folder.clone(),
        "/dev/null".into(),
        "/dev/full".into(),
    ] {
        let error = replaceable(&path).unwrap_err();
        assert_eq!(error.kind(), InvalidInput, "{}", path.display());
    }
}

#[test]
fn a_file_appears_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("scores.txt");
    std::fs::write(&path, "before").unwrap();
    let mut lost = Draft::create(&path, 0o666).unwrap();
    lost.write_all(b"half").unwrap();
    drop(lost);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "before");
    let mut kept = Draft::create(&path, 0o600).unwrap();
    kept.write_all(b"whole").unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "before");
    kept.commit().unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "whole");
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    assert!(Draft::create(&folder.path().join("absent/scores.txt"), 0o666).is_err());
    assert_eq!(Draft::create(Path::new("/"), 0o666).unwrap_err().kind(), InvalidInput);
}

#[test]
fn of_two_new_files_of_a_name_the_first_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    let draft = |text: &[u8]| {
        let mut draft = Draft::create(&path, 0o600).unwrap();
        draft.write_all(text).unwrap();
        draft
    };
    let (first, second) = (draft(b"first"), draft(b"second"));
    first.commit_new().unwrap();
    assert_eq!(second.commit_new().unwrap_err().kind(), AlreadyExists);
    assert_eq!(std::fs::read(&path).unwrap(), b"first");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

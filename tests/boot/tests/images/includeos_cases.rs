//! The cases of the tests of IncludeOS that are about files and POSIX (`tests/programs/src/bin/includeos_cases`), on a tree that the image
//! carries, and on the same files on Linux.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use boot_tests::{Boot, Image, linux, tool};

/// What IncludeOS' tests have on their disks.
const FILES: &[(&str, &str)] = &[
    ("file1", "content\n"),
    ("file2", "more content\n"),
    ("file3", "even more content\n"),
    ("folder1/file1", "content\n"),
    ("folder1/foldera/file4", "the content of the fourth\n"),
    ("folder2/file5", ""),
    (
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\nalfred:x:1000:100:Alfred:/home/alfred:/bin/bash\nnobody:x:65534:65534::/:\n",
    ),
    ("users/alfred/etc/ip4/config.txt", "10.0.0.42\n"),
    ("users/ingve/etc/ip4/config.txt", "10.0.0.43\n"),
];

/// What is in the archive.
const ARCHIVED: &[(&str, &str)] = &[
    ("first_file.txt", "This is the first file.\n"),
    ("second_file.md", "# Second\n"),
    ("l1_f1/service.cpp", "int main() {}\n"),
    ("l1_f1/l2/README.md", "# Level 2\n\nA file two levels below the root of the archive.\n"),
    ("l1_f1/l2/service.cpp", ""),
    ("l1_f2/virtio.hpp", "#pragma once\n"),
];

/// A folder with all of it in `disk`, in the target folder.
fn folder() -> PathBuf {
    let root = tool::target_dir().join("boot-tests").join("includeos-cases");
    let _ = fs::remove_dir_all(&root);
    let disk = root.join("disk");
    write(&disk, FILES);
    fs::create_dir(disk.join("folder3")).unwrap();
    let unpacked = root.with_file_name("includeos-archive");
    let _ = fs::remove_dir_all(&unpacked);
    write(&unpacked.join("example"), ARCHIVED);
    for name in ["example.tar", "example.tar.gz"] {
        let mut tar = Command::new("tar");
        tar.args(["--create", "--auto-compress", "--file"])
            .arg(disk.join(name))
            .arg("--directory")
            .arg(&unpacked);
        tar.args(["--format=ustar", "--sort=name", "--owner=alfred:1000", "--group=users:100", "example"]);
        assert!(tar.status().expect("tar is there").success());
    }
    root
}

fn write(folder: &Path, files: &[(&str, &str)]) {
    for (name, content) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

#[test]
fn files_and_posix_are_as_on_linux() {
    let root = folder();
    let target = tool::target_dir().join("boot-tests").join("tree");
    let disk = root.join("disk");
    let [target_dir, root, disk] = [&target, &root, &disk].map(|path| path.to_str().expect("a path of text"));
    let project = tool::repository().join("tests/programs");
    let options =
        ["build", "--release", "--bin", "includeos_cases", "--target-dir", target_dir, "--root", root];
    tool::succeed(&project, &options);
    let image = Image::at(&target, "release", "includeos_cases");
    let env = ["HOME=/home/alfred"];
    let on_linux = linux::run(&image, &[disk], &env);
    linux::same_by(&Boot::new(&image).args(&["/disk"]).env(&env), on_linux, &[]);
}

/// `posix/main`.
#[test]
fn the_status_of_main_is_the_images() {
    let image = Image::program("includeos_cases");
    for (args, status) in [(&["booted", "with", "vmrunner"][..], 200), (&[], 0)] {
        let on_linux = linux::run(&image, args, &[]);
        assert_eq!(on_linux.1, status);
        linux::same_by(&Boot::new(&image).args(args), on_linux, &[]);
    }
}

//! What a tree of files in the image is to a program: read as it was packed, and not to be changed. /tmp can be.

use std::fs;
use std::io::{Error, Result};
use std::os::unix::fs::MetadataExt;

fn main() -> Result<()> {
    let mut names: Vec<_> =
        fs::read_dir("/data")?.map(|entry| Ok(entry?.file_name())).collect::<Result<_>>()?;
    names.sort();
    println!("{names:?}");
    println!("{:?}", fs::read_to_string("/data/link")?);
    let large = fs::read("/data/large")?;
    println!("{} {}", large.len(), large.iter().enumerate().all(|(at, octet)| *octet == (at % 251) as u8));
    println!("{:o} {}", fs::metadata("/data/text")?.mode(), fs::metadata("/data/text")?.blocks());
    println!("{:?}", fs::read_to_string("/etc/hosts")?);
    let refused = |result: Result<()>| result.map_err(|error: Error| error.raw_os_error());
    println!("{:?}", refused(fs::write("/data/text", "x")));
    println!("{:?}", refused(fs::write("/data/new", "x")));
    println!("{:?}", refused(fs::remove_file("/data/text")));
    println!("{:?}", refused(fs::create_dir("/new")));
    println!("{:?}", refused(fs::rename("/data/text", "/data/other")));
    fs::copy("/data/large", "/tmp/copy")?;
    println!("{}", fs::read("/tmp/copy")? == large);
    Ok(())
}

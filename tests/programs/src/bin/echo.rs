//! Answers each line of standard input, until one says `end` or nothing more comes.

use std::io::{self, BufRead};

fn main() -> io::Result<()> {
    println!("ready");
    for line in io::stdin().lock().lines() {
        let line = line?;
        println!("heard {:?}", line.trim_end());
        if line.trim_end() == "end" {
            println!("goodbye");
            return Ok(());
        }
    }
    println!("end of input");
    Ok(())
}

//! Projects as people have them: whole builds of their own, hence slower than the other tests. Each is made in a
//! temporary folder, built by the tool without a change, booted, and run on Linux.

mod project;

use boot_tests::boot::everywhere;
use boot_tests::{Boot, linux};
use project::Project;
use qemu::Network;

const HELLO: &str = "fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    println!(\"hello, {}\", words.join(\" and \"));
    std::process::exit(7);
}\n";

/// `cargo new`, nothing else.
#[test]
fn plain() {
    let project = Project::new("plain", "", HELLO);
    project.same_as_on_linux("dev", &["one", "two"], 7, "hello, one and two\n");
}

/// What an image costs above the plain Linux program, in octets. It may grow when that is worth it: then this is the place to say so.
const HELLO_MORE: u64 = 179_500;

/// The size of the least program: what the operating system adds to it. (`cargo xtask bench boot` has the goal.)
#[test]
fn hello_costs_no_more_than_it_did() {
    let project = Project::new("least", "", "fn main() { println!(\"Hello, world!\") }\n");
    let image = project.image("release").path.metadata().expect("it was built").len();
    let plain = project.plain("release").metadata().expect("Cargo built it").len();
    let more = image.saturating_sub(plain);
    // Pages are whole, and tool-chains differ.
    let most = HELLO_MORE + HELLO_MORE / 20;
    assert!(
        (1..=most).contains(&more),
        "hello: {image} octets, {more} above the plain program; at most {most} were expected"
    );
}

/// What a program uses of the operating system is found in it, whatever it goes by; and what it does not use is not there.
#[test]
fn services_by_use() {
    let uses =
        |name, dependencies, main: &str| Project::new(name, dependencies, main).image("release").services();
    assert_eq!(
        uses(
            "nothing",
            "",
            "fn main() { let map: std::collections::HashMap<_, _> = std::env::args().map(|a| (a, 1)).collect(); println!(\"{map:?} {:?} {:?}\", std::env::current_exe(), std::thread::available_parallelism()) }"
        ),
        [""; 0]
    );
    assert_eq!(uses("creates", "", "fn main() { std::fs::write(\"/tmp/x\", \"x\").unwrap() }"), ["files"]);
    assert_eq!(
        uses("asks", "", "fn main() { println!(\"{}\", std::path::Path::new(\"/tmp/x\").exists()) }"),
        ["files"]
    );
    assert_eq!(uses("pipes", "", "fn main() { println!(\"{:?}\", std::io::pipe().is_ok()) }"), ["pipes"]);
    assert_eq!(
        uses(
            "resolves",
            "",
            "fn main() { println!(\"{:?}\", std::net::ToSocketAddrs::to_socket_addrs(&\"x:1\").is_ok()) }"
        ),
        ["files", "net"]
    );
    let libc = "[dependencies]\nlibc = \"0.2\"\n";
    assert_eq!(
        uses("waits", libc, "fn main() { println!(\"{}\", unsafe { libc::epoll_create1(0) }) }"),
        ["events"]
    );
    assert_eq!(uses("alarms", libc, "fn main() { println!(\"{}\", unsafe { libc::alarm(0) }) }"), ["timers"]);
    assert_eq!(
        uses("nice", libc, "fn main() { println!(\"{}\", unsafe { libc::sched_getscheduler(0) }) }"),
        ["scheduling"]
    );
    assert_eq!(
        uses(
            "futex",
            libc,
            "fn main() { println!(\"{}\", unsafe { libc::syscall(libc::SYS_futex, 0, 3, 0, 0, 0, 0) }) }"
        ),
        ["futexes"]
    );
    assert_eq!(
        uses(
            "listens",
            "",
            "fn main() { println!(\"{}\", std::net::TcpListener::bind(\"127.0.0.1:1\").is_ok()) }"
        ),
        ["files", "net"]
    );
    assert_eq!(
        uses(
            "sends",
            "",
            "fn main() { println!(\"{}\", std::net::UdpSocket::bind((std::net::Ipv4Addr::LOCALHOST, 1)).is_ok()) }"
        ),
        ["net"]
    );
    assert_eq!(
        uses("pairs", "", "fn main() { println!(\"{}\", std::os::unix::net::UnixStream::pair().is_ok()) }"),
        ["local"]
    );
    assert_eq!(
        uses(
            "named",
            "",
            "fn main() { println!(\"{}\", std::os::unix::net::UnixListener::bind(\"/tmp/x\").is_ok()) }"
        ),
        ["files", "local", "net"]
    );
    let all = ["events", "files", "futexes", "local", "net", "pipes", "scheduling", "timers"];
    assert_eq!(
        uses(
            "raw",
            libc,
            "fn main() { println!(\"{}\", unsafe { libc::syscall(libc::SYS_mkdir, c\"/x\".as_ptr(), 0o700) }) }"
        ),
        all
    );
    assert_eq!(
        uses(
            "bare",
            "",
            "fn main() { let n: i64; unsafe { std::arch::asm!(\"syscall\", inout(\"rax\") 83i64 => n, in(\"rdi\") c\"/x\".as_ptr(), in(\"rsi\") 0o700, out(\"rcx\") _, out(\"r11\") _) } println!(\"{n}\") }"
        ),
        all
    );
    // Inlined into a generic function of std, and nowhere else.
    assert_eq!(
        uses(
            "inlined",
            libc,
            "fn main() { println!(\"{:?}\", std::thread::spawn(|| unsafe { libc::syscall(libc::SYS_mkdir, c\"/x\".as_ptr(), 0o700) }).join().unwrap()) }"
        ),
        all
    );
}

/// Optimised together, so that nobody's function is where it was.
#[test]
fn services_by_use_with_fat_lto() {
    let profile =
        "[profile.release]\nlto = \"fat\"\ncodegen-units = 1\nopt-level = \"z\"\npanic = \"abort\"\n";
    let services = |name, main| Project::new(name, profile, main).image("release").services();
    // What std's start does is in `main` then, and counts as the program's: files at most.
    let small = services("small", "fn main() { println!(\"x\") }");
    assert!(small.iter().all(|service| service == "files"), "{small:?}");
    assert_eq!(services("writes", "fn main() { std::fs::write(\"/tmp/x\", \"x\").unwrap() }"), ["files"]);
    let debug = Project::new("debug", "", "fn main() { std::fs::write(\"/tmp/x\", \"x\").unwrap() }");
    assert_eq!(debug.image("dev").services(), ["files"]);
}

/// A profile that leaves nothing as it is by default: no unwinding, one unit, all of it optimised together.
#[test]
fn panic_abort_and_fat_lto() {
    let profile = "[profile.release]\npanic = \"abort\"\nlto = \"fat\"\ncodegen-units = 1\nopt-level = \"z\"\nstrip = true\n";
    let project = Project::new("small", profile, HELLO);
    project.same_as_on_linux("release", &["small"], 7, "hello, small\n");
}

/// An allocator written in C, with thread-local heaps and reservations of its own.
#[test]
fn mimalloc_is_the_global_allocator() {
    let main = "#[global_allocator]
static GLOBAL: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let threads: Vec<_> = (0..4u64).map(|n| std::thread::spawn(move || {
        let map: std::collections::BTreeMap<u64, String> = (0..2000).map(|k| (k * n, format!(\"{k}\"))).collect();
        let large = vec![n; 200_000];
        map.len() as u64 + large.iter().sum::<u64>()
    })).collect();
    let sums: Vec<u64> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    println!(\"{sums:?}\");
}\n";
    let project = Project::new(
        "allocates",
        "[dependencies]\nmimalloc = { version = \"0.1\", default-features = false }\n",
        main,
    );
    project.same_as_on_linux("release", &[], 0, "[1, 202000, 402000, 602000]\n");
}

/// Another tool-chain file: the channel of the tool-chain at hand, so that nothing is fetched.
#[test]
fn a_rust_toolchain_file() {
    let project = Project::new("pinned", "", HELLO);
    let file = format!("[toolchain]\nchannel = \"{}\"\n", project::channel());
    project.write("rust-toolchain.toml", &file);
    project.same_as_on_linux("dev", &["pinned"], 7, "hello, pinned\n");
}

/// Code that runs on the host while the project is built must not be built as an image.
#[test]
fn procedural_macros_and_a_build_script_with_c() {
    let manifest = "[dependencies]\nserde = { version = \"1\", features = [\"derive\"] }\nserde_json = \"1\"\n\n\
                    [build-dependencies]\ncc = \"1\"\n";
    let main = "#[derive(serde::Serialize, serde::Deserialize, PartialEq, Debug)]
struct Point { x: i32, name: String }

unsafe extern \"C\" { safe fn cubed(n: i32) -> i32; }

fn main() {
    let point = Point { x: cubed(3), name: env!(\"BUILT\").to_owned() };
    let text = serde_json::to_string(&point).unwrap();
    assert_eq!(serde_json::from_str::<Point>(&text).unwrap(), point);
    println!(\"{text}\");
}\n";
    let project = Project::new("derives", manifest, main);
    project.write(
        "build.rs",
        "fn main() {
    cc::Build::new().file(\"cubed.c\").compile(\"cubed\");
    println!(\"cargo::rustc-env=BUILT=by {}\", std::thread::spawn(|| \"a script\").join().unwrap());
    println!(\"cargo::rerun-if-changed=cubed.c\");
}\n",
    );
    project.write("cubed.c", "int cubed(int n) { return n * n * n; }\n");
    project.same_as_on_linux("release", &[], 0, "{\"x\":27,\"name\":\"by a script\"}\n");
}

/// The user's own flags stay.
#[test]
fn flags_and_features_of_the_projects_own() {
    let main = "fn main() { println!(\"{} {}\", cfg!(theirs), cfg!(target_feature = \"sse4.2\")) }\n";
    let project = Project::new("flags", "", main);
    let config = "[build]\nrustflags = [\"--cfg\", \"theirs\", \"-Ctarget-cpu=x86-64-v2\"]\n";
    project.write(".cargo/config.toml", config);
    project.same_as_on_linux("dev", &[], 0, "true true\n");
}

/// The other linker. It leaves kernel and program on common pages, so that isolation is refused.
#[test]
fn gnu_ld() {
    let project = Project::new("gnu", "", HELLO);
    project.write(".cargo/config.toml", "[build]\nrustflags = [\"-Clink-arg=-fuse-ld=bfd\"]\n");
    let image = project.image("dev");
    assert_eq!(linux::run(&image, &["gnu"], &[]), ("hello, gnu\n".to_owned(), 7));
    let boot = Boot::new(&image).args(&["gnu"]);
    everywhere(&boot.clone().isolation(false), 7, |ended| assert_eq!(ended.programs(), "hello, gnu\n"));
    everywhere(&boot.isolation(true), 125, |ended| {
        assert!(
            matches!(ended.kernels()[..], [line] if line.contains("isolation=on") && line.contains("lld"))
        );
    });
}

/// What the manifest says of the image: its arguments, variables, isolation, addresses, and a service that the linker does not see
/// is needed. Whoever boots it may say otherwise.
#[test]
fn settings_in_the_manifest() {
    let manifest = "[dependencies]\nlibc = \"0.2\"\n\n[package.metadata.includeos]\nargs = [\"--from\", \"the image\"]\nisolation = true\n\
                    services = [\"net\"]\n[package.metadata.includeos.env]\nWORD = \"theirs\"\nKEPT = \"yes\"\n\
                    [package.metadata.includeos.net]\neth0 = \"10.9.8.7/24\"\nhostname = \"named\"\n";
    let main = "use std::os::fd::FromRawFd;
fn main() {
    println!(\"{:?}\", std::env::args().skip(1).collect::<Vec<_>>());
    println!(\"{:?} {:?}\", std::env::var(\"WORD\"), std::env::var(\"KEPT\"));
    let fd = unsafe { libc::syscall(libc::SYS_socket, libc::AF_INET, libc::SOCK_DGRAM, 0) };
    let address = [2u8, 0, 0, 0, 10, 9, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0];
    let bound = unsafe { libc::syscall(libc::SYS_bind, fd, address.as_ptr(), 16) };
    drop(unsafe { std::os::fd::OwnedFd::from_raw_fd(fd as i32) });
    println!(\"bound: {bound}\");
}\n";
    let project = Project::new("settled", manifest, main);
    let image = project.image("release");
    let boot = || Boot::new(&image).network(Network::User(Vec::new()));
    let ended = boot().expect(0);
    assert_eq!(
        ended.programs(),
        "[\"--from\", \"the image\"]\nOk(\"theirs\") Ok(\"yes\")\nbound: 0\n",
        "{}",
        ended.console
    );
    let ended = boot().args(&["mine"]).env(&["WORD=mine"]).expect(0);
    assert_eq!(ended.programs(), "[\"mine\"]\nOk(\"mine\") Ok(\"yes\")\nbound: 0\n", "{}", ended.console);
    // Linux knows nothing of it.
    let (_, status) = linux::run(&image, &[], &[]);
    assert_eq!(status, 0);
}

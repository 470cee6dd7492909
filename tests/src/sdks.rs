//! The vendors' own SDKs and other people's tools, installed once beside what is built, in the
//! versions that `tests/sdks` and `tests/openapi` name.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A Python that has the packages of `tests/sdks/requirements.txt`.
pub fn python_with_sdks() -> PathBuf {
    python("python", "sdks/requirements.txt")
}

/// A Python that has the packages of `tests/openapi/requirements.txt`.
pub fn python_with_schemathesis() -> PathBuf {
    python("schemathesis", "openapi/requirements.txt")
}

/// A Python that makes Fernet tokens and bcrypt hashes.
pub fn python_with_fernet() -> PathBuf {
    python("fernet", "sdks/fernet.txt")
}

/// A Python that knows OpenTelemetry's own definitions.
pub fn python_with_opentelemetry() -> PathBuf {
    python("otlp", "sdks/otlp.txt")
}

/// Rotel, a collector of OpenTelemetry that is published as a Python package.
pub fn rotel() -> PathBuf {
    let library = installed_python("rotel", "sdks/rotel.txt").join("lib");
    // The folder of the one Python that there is.
    let version = std::fs::read_dir(library).unwrap().next().unwrap();
    let version = version.unwrap().path();
    version.join("site-packages/rotel/rotel-agent")
}

fn python(name: &str, list: &str) -> PathBuf {
    installed_python(name, list).join("bin/python")
}

fn installed_python(name: &str, list: &str) -> PathBuf {
    installed(name, list, |folder, list| {
        run(Command::new("python3").args(["-m", "venv"]).arg(folder));
        let mut install = Command::new(folder.join("bin/pip"));
        install.args(["install", "--quiet", "--disable-pip-version-check"]);
        install.args(["--retries", "10", "--timeout", "60", "-r"]);
        run(install.arg(list));
    })
}

/// A folder whose `node_modules` has the packages of `tests/sdks/package.json`.
pub fn node_with_openai() -> PathBuf {
    installed_node("node", "sdks/package.json")
}

/// The same for another list of packages.
pub(crate) fn installed_node(name: &str, list: &str) -> PathBuf {
    installed(name, list, |folder, list| {
        std::fs::create_dir_all(folder).unwrap();
        std::fs::copy(list, folder.join("package.json")).unwrap();
        let mut install = Command::new("npm");
        install.args(["install", "--silent", "--no-audit", "--no-fund"]);
        install.args(["--fetch-retries", "10", "--fetch-timeout", "60000"]);
        run(install.current_dir(folder));
    })
}

/// Installs anew when the list of versions has changed; one process at a time.
fn installed(name: &str, list: &str, install: impl FnOnce(&Path, &Path)) -> PathBuf {
    let list = Path::new(env!("CARGO_MANIFEST_DIR")).join(list);
    let this_test = std::env::current_exe().unwrap();
    let profile = this_test.ancestors().nth(2).unwrap();
    let sdks = profile.join("keyferry-sdks");
    std::fs::create_dir_all(&sdks).unwrap();
    let lock = File::create(sdks.join(format!("{name}.lock"))).unwrap();
    lock.lock().unwrap();
    let (folder, done) = (sdks.join(name), sdks.join(format!("{name}.done")));
    let wanted = std::fs::read(&list).unwrap();
    if std::fs::read(&done).is_ok_and(|before| before == wanted) {
        return folder;
    }
    let _there_may_be_none = std::fs::remove_dir_all(&folder);
    install(&folder, &list);
    std::fs::write(done, wanted).unwrap();
    folder
}

/// Twice where it has to be: a registry may fail in a way that its client does not bear.
fn run(command: &mut Command) {
    let mut once = || {
        let status = command.status();
        status.unwrap_or_else(|error| panic!("{command:?}: {error}"))
    };
    let mut status = once();
    if !status.success() {
        status = once();
    }
    assert!(status.success(), "{command:?}: {status}");
}

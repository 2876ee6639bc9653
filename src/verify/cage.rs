//! The cage of the throwaway server: what a dump has in it runs there as a superuser, and must reach nothing outside of the server's folder.
//!
//! Landlock keeps it from files, programs, abstract sockets and foreign processes; seccomp from the network, from sockets of other programs
//! and from the calls by which a process looks into others or changes the system. Both hold for the thread that asks for them and for what
//! it starts, so a thread of its own enters the cage, starts the server, and ends.

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, Scope,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command},
};

/// The newest Landlock whose rights are known here; of an older kernel's, as many as it has.
const NEWEST: ABI = ABI::V6;
/// What packages install for everybody to read: shared libraries, the data of extensions, time zones and locales.
const READABLE: [&str; 14] = [
    "/lib",
    "/lib32",
    "/lib64",
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
    "/usr/libexec",
    "/usr/share",
    "/usr/local/lib",
    "/usr/local/lib64",
    "/usr/local/share",
    "/nix/store",
    // Debian's dictionaries for text search.
    "/var/cache/postgresql/dicts",
    "/sys/devices/system/cpu",
];
/// Files that libraries read.
const FILES: [&str; 9] = [
    "/etc/ld.so.cache",
    "/etc/ld.so.preload",
    "/etc/ld-musl-x86_64.path",
    "/etc/localtime",
    "/etc/timezone",
    "/etc/nsswitch.conf",
    "/etc/ssl/openssl.cnf",
    "/etc/pki/tls/openssl.cnf",
    "/etc/crypto-policies/back-ends/opensslcnf.config",
];
/// Devices that everybody may write to.
const DEVICES: [&str; 5] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];
/// Calls of the x32 way on x86-64 have this bit in their numbers.
const X32: i64 = 0x4000_0000;

/// What may be reached from inside.
#[derive(Debug)]
pub(super) struct Cage<'a> {
    /// The only program that may be run, beside the loader that it names.
    pub program: &'a Path,
    /// Folders in which everything is allowed.
    pub own: Vec<&'a Path>,
}

/// Why a program is not running.
#[derive(Debug)]
pub(super) enum Fault {
    /// There is no cage to be had on this machine.
    NoCage(String),
    /// The program itself cannot be started.
    Program(std::io::Error),
}

impl Cage<'_> {
    /// Starts a program in the cage.
    pub fn spawn(&self, command: &mut Command) -> Result<Child, Fault> {
        let (filter, clone3) = filter().and_then(|f| Ok((f, without_clone3()?))).map_err(Fault::NoCage)?;
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                let rules = self.rules().map_err(|e| Fault::NoCage(format!("Landlock: {e}")))?;
                let status = rules.restrict_self().map_err(|e| Fault::NoCage(format!("Landlock: {e}")))?;
                if status.ruleset == landlock::RulesetStatus::NotEnforced {
                    return Err(Fault::NoCage("Landlock: not enforced".into()));
                }
                for program in [&clone3, &filter] {
                    seccompiler::apply_filter(program).map_err(|e| Fault::NoCage(format!("seccomp: {e}")))?;
                }
                command.spawn().map_err(Fault::Program)
            });
            inside.join().unwrap_or_else(|_| Err(Fault::NoCage("its thread broke off".into())))
        })
    }

    fn rules(&self) -> Result<RulesetCreated, String> {
        let all = AccessFs::from_all(NEWEST);
        let told = |e: landlock::RulesetError| e.to_string();
        let mut rules = Ruleset::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(AccessFs::from_all(ABI::V1))
            .map_err(|_| "this kernel does not have it, or it is not enabled or not allowed".to_owned())?
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(all)
            .and_then(|r| r.handle_access(AccessNet::BindTcp | AccessNet::ConnectTcp))
            .and_then(|r| r.scope(Scope::from_all(NEWEST)))
            .and_then(Ruleset::create)
            .map_err(told)?;
        let look = AccessFs::ReadFile | AccessFs::ReadDir;
        let bin = self.program.parent().unwrap_or(self.program);
        let beside = ["../lib", "../lib64", "../share"].map(|dir| bin.join(dir));
        let named = READABLE.iter().map(PathBuf::from).chain([bin.to_owned()]).chain(beside);
        // A program that is a link lies somewhere else, and finds its files from there.
        let real = self.program.canonicalize().unwrap_or_else(|_| self.program.to_owned());
        let home = real.parent().map(|bin| [bin.to_owned(), bin.join("../lib"), bin.join("../share")]);
        let mut grants: Vec<(PathBuf, BitFlags<AccessFs>)> =
            named.chain(home.into_iter().flatten()).map(|path| (path, look)).collect();
        grants.extend(FILES.map(|file| (file.into(), AccessFs::ReadFile.into())));
        grants.extend(DEVICES.map(|device| (device.into(), AccessFs::ReadFile | AccessFs::WriteFile)));
        let run = AccessFs::ReadFile | AccessFs::Execute;
        grants.extend(interpreter(&real).map(|loader| (loader, run)));
        grants.push((real, run));
        // Nothing in it is to be run.
        grants.extend(self.own.iter().map(|folder| (folder.to_path_buf(), all & !AccessFs::Execute)));
        for (path, access) in grants {
            // What this machine does not have needs no rule.
            let Ok(opened) = PathFd::new(&path) else { continue };
            let access = if path.is_dir() { access } else { access & AccessFs::from_file(NEWEST) };
            rules = rules.add_rule(PathBeneath::new(opened, access)).map_err(told)?;
        }
        Ok(rules)
    }
}

/// The loader that a dynamically linked program names (ELF's `PT_INTERP`), 64 bits, in this machine's order of bytes.
fn interpreter(program: &Path) -> Option<PathBuf> {
    let elf = fs::read(program).ok().filter(|elf| elf.starts_with(b"\x7fELF\x02"))?;
    let number = |at: usize, bytes: usize| -> Option<usize> {
        let mut value = [0; 8];
        value.get_mut(..bytes)?.copy_from_slice(elf.get(at..at.checked_add(bytes)?)?);
        usize::try_from(u64::from_le_bytes(value)).ok()
    };
    let (table, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    let header = (0..count).map(|n| table + n * size).find(|at| number(*at, 4) == Some(3))?;
    let (from, length) = (number(header + 8, 8)?, number(header + 32, 8)?);
    let name = std::str::from_utf8(elf.get(from..from.checked_add(length)?)?).ok()?;
    Some(PathBuf::from(name.trim_end_matches('\0')))
}

/// Calls that are refused whatever they ask for.
const REFUSED: &[i64] = &[
    // Sockets of other programs: Landlock knows no rule for those that lie in the file system.
    libc::SYS_connect,
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_kcmp,
    // A filter on calls does not see what is asked for through a ring.
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    // Owners and attributes of files are none of Landlock's rights.
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    // The system.
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_adjtimex,
    libc::SYS_bpf,
    libc::SYS_chroot,
    libc::SYS_clock_adjtime,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_fanotify_init,
    libc::SYS_finit_module,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_init_module,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_mq_open,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_pivot_root,
    libc::SYS_quotactl,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_setdomainname,
    libc::SYS_sethostname,
    libc::SYS_setns,
    libc::SYS_settimeofday,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_syslog,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
    libc::SYS_vhangup,
];

/// Calls that only this architecture has.
#[cfg(target_arch = "x86_64")]
const REFUSED_HERE: &[i64] = &[
    libc::SYS_chown,
    libc::SYS_lchown,
    libc::SYS_ioperm,
    libc::SYS_iopl,
    libc::SYS_kexec_file_load,
    libc::SYS_modify_ldt,
    libc::SYS_uselib,
];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_HERE: &[i64] = &[];

/// The filter on system calls: what it does not know is allowed, as extensions may need anything.
fn filter() -> Result<BpfProgram, String> {
    let told = |e: seccompiler::BackendError| format!("seccomp: {e}");
    let when = |argument: u8, operator: SeccompCmpOp, value: u64| {
        SeccompCondition::new(argument, SeccompCmpArgLen::Qword, operator, value)
            .and_then(|condition| SeccompRule::new(vec![condition]))
    };
    // The upper half of an argument that the kernel takes for 32 bits may hold anything.
    let word = |argument: u8, operator: SeccompCmpOp, value: u64| {
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)
            .and_then(|condition| SeccompRule::new(vec![condition]))
    };
    let (unix, datagram) = (libc::AF_UNIX as u64, libc::SOCK_DGRAM as u64);
    let family = || word(0, SeccompCmpOp::Ne, unix);
    // A datagram names whom it goes to, without a connection.
    let kind = || word(1, SeccompCmpOp::MaskedEq(0xf), datagram);
    let spaces = libc::CLONE_NEWNS
        | libc::CLONE_NEWCGROUP
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUSER
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET;
    let bits = (0..31).map(|n| 1_u64 << n).filter(|bit| spaces as u64 & bit != 0);
    let spaces: Vec<SeccompRule> =
        bits.map(|bit| when(0, SeccompCmpOp::MaskedEq(bit), bit)).collect::<Result<_, _>>().map_err(told)?;
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        REFUSED.iter().chain(REFUSED_HERE).map(|call| (*call, Vec::new())).collect();
    rules.insert(libc::SYS_socket, vec![family().map_err(told)?, kind().map_err(told)?]);
    rules.insert(libc::SYS_socketpair, vec![family().map_err(told)?, kind().map_err(told)?]);
    rules.insert(libc::SYS_clone, spaces);
    // Limits of another process.
    rules.insert(libc::SYS_prlimit64, vec![word(0, SeccompCmpOp::Ne, 0).map_err(told)?]);
    if cfg!(target_arch = "x86_64") {
        // As far as a kernel has it at all; its own numbers (512 to 547) are for calls that take other structures.
        let same: Vec<i64> = rules.keys().map(|call| call | X32).collect();
        rules.extend(same.into_iter().chain((512..548).map(|call| call | X32)).map(|call| (call, Vec::new())));
    }
    let arch = std::env::consts::ARCH.try_into().map_err(told)?;
    let refuse = SeccompAction::Errno(libc::EPERM as u32);
    let main = SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch).map_err(told)?;
    main.try_into().map_err(told)
}

/// Its arguments lie in memory that a filter cannot read, so the C library is told that this kernel has none and takes `clone`.
fn without_clone3() -> Result<BpfProgram, String> {
    let told = |e: seccompiler::BackendError| format!("seccomp: {e}");
    let arch = std::env::consts::ARCH.try_into().map_err(told)?;
    let rules = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(libc::ENOSYS as u32), arch);
    filter.and_then(TryInto::try_into).map_err(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loader_of_a_program_is_the_one_that_it_names() {
        let this = std::env::current_exe().expect("is known");
        let loader = interpreter(&this).expect("is linked dynamically");
        assert!(loader.is_absolute() && loader.exists(), "{loader:?}");
        assert_eq!(interpreter(Path::new("/etc/passwd")), None);
    }

    /// Without Landlock there is no cage, and that is told in place of running the program.
    #[test]
    fn where_landlock_is_refused_there_is_no_cage() {
        let refused = std::thread::spawn(|| {
            let rules = BTreeMap::from([(libc::SYS_landlock_create_ruleset, Vec::new())]);
            let refuse = SeccompAction::Errno(libc::EOPNOTSUPP as u32);
            let arch = std::env::consts::ARCH.try_into().expect("is known");
            let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch).expect("is a filter");
            let program: BpfProgram = filter.try_into().expect("is a program");
            seccompiler::apply_filter(&program).expect("is allowed");
            let cage = Cage { program: Path::new("/bin/true"), own: Vec::new() };
            cage.spawn(&mut Command::new("/bin/true"))
        });
        match refused.join().expect("ends") {
            Err(Fault::NoCage(why)) => assert!(why.starts_with("Landlock: this kernel does not have it"), "{why}"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn nothing_but_the_program_runs_and_nothing_outside_is_read_or_written() {
        let (inside, outside) = (tempfile::tempdir().expect("is made"), tempfile::tempdir().expect("is made"));
        fs::write(outside.path().join("secret"), "s3cret").expect("is written");
        let shell = Path::new("/bin/sh");
        let ran = |script: &str| {
            let cage = Cage { program: shell, own: vec![inside.path()] };
            let mut command = Command::new(shell);
            command.args(["-c", script]).current_dir(inside.path());
            let mut child = cage.spawn(&mut command).expect("starts");
            child.wait().expect("ends").success()
        };
        let secret = outside.path().join("secret").display().to_string();
        let new = outside.path().join("new").display().to_string();
        assert!(ran("echo a > mine && read x < mine && test $x = a"));
        assert!(!ran(&format!("read x < {secret}")));
        assert!(!ran(&format!("echo a > {new}")) && !outside.path().join("new").exists());
        assert!(!ran(&format!("echo a >> {secret}")));
        assert!(!ran("/usr/bin/env true"), "no other program");
        assert!(!ran("kill -0 $PPID"), "no signal to a process outside");
        assert_eq!(fs::read(outside.path().join("secret")).expect("is read"), b"s3cret");
    }
}

#include "common/jobs/sandbox.h"

#include <fcntl.h>
#include <linux/landlock.h>
#include <seccomp.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <memory>

#include "common/base/files.h"

namespace tributary::jobs {
namespace fs = std::filesystem;
namespace {

// Rights of Landlock ABI 1 to 3; the header of the build machine may be older
// than the kernel, so newer ones are spelled here.
constexpr uint64_t kRefer = 1ull << 13;
constexpr uint64_t kTruncate = 1ull << 14;
constexpr uint64_t kReadFile = LANDLOCK_ACCESS_FS_READ_FILE;
constexpr uint64_t kReadTree = kReadFile | LANDLOCK_ACCESS_FS_READ_DIR;
constexpr uint64_t kExecute = LANDLOCK_ACCESS_FS_EXECUTE;

uint64_t HandledRights(int abi) {
  uint64_t rights = (1ull << 13) - 1;  // ABI 1
  if (abi >= 2) {
    rights |= kRefer;
  }
  if (abi >= 3) {
    rights |= kTruncate;
  }
  return rights;
}

// What a dynamically linked process needs to go on running: shared libraries
// loaded late, CPU and memory facts, time zones, random numbers.
constexpr std::array kSystemPaths = {"/usr/lib",
                                     "/usr/lib64",
                                     "/lib",
                                     "/lib64",
                                     "/etc/ld.so.cache",
                                     "/proc",
                                     "/sys",
                                     "/dev/null",
                                     "/dev/urandom",
                                     "/usr/share/zoneinfo",
                                     "/etc/localtime"};

Status AllowPath(int ruleset, const fs::path& path, uint64_t rights) {
  const int fd = open(path.c_str(), O_PATH | O_CLOEXEC);
  if (fd < 0) {
    return ErrnoStatus(errno, "sandbox: path " + path.string());
  }
  const FileDescriptor owner(fd);
  std::error_code error;
  if (!fs::is_directory(path, error)) {
    rights &= kReadFile | kExecute | kTruncate | LANDLOCK_ACCESS_FS_WRITE_FILE;
  }
  const landlock_path_beneath_attr rule = {.allowed_access = rights,
                                           .parent_fd = fd};
  if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule,
              0) != 0) {
    return ErrnoStatus(errno, "sandbox: rule for " + path.string());
  }
  return absl::OkStatus();
}

StatusOr<int> ConfineFiles(const SandboxOptions& options) {
  const auto abi =
      static_cast<int>(syscall(SYS_landlock_create_ruleset, nullptr, 0,
                               LANDLOCK_CREATE_RULESET_VERSION));
  if (abi < 1) {
    return FailedPrecondition(
        "sandbox: this kernel has no Landlock (needed: Linux 5.13 or newer "
        "with Landlock enabled); a worker does not open data unconfined");
  }
  const uint64_t handled = HandledRights(abi);
  landlock_ruleset_attr attributes = {};
  attributes.handled_access_fs = handled;
  const FileDescriptor ruleset(
      static_cast<int>(syscall(SYS_landlock_create_ruleset, &attributes,
                               sizeof(attributes.handled_access_fs), 0)));
  if (!ruleset.valid()) {
    return ErrnoStatus(errno, "sandbox: create ruleset");
  }
  for (const char* path : kSystemPaths) {
    if (access(path, F_OK) == 0) {
      RETURN_IF_ERROR(AllowPath(ruleset.get(), path, kReadTree));
    }
  }
  // Libraries that lie elsewhere, such as LibTorch's, are mapped already.
  for (const fs::path& path : options.readable) {
    RETURN_IF_ERROR(AllowPath(ruleset.get(), path, kReadTree));
  }
  for (const fs::path& path : options.writable) {
    RETURN_IF_ERROR(AllowPath(ruleset.get(), path, handled & ~kExecute));
  }
  if (syscall(SYS_landlock_restrict_self, ruleset.get(), 0) != 0) {
    return ErrnoStatus(errno, "sandbox: restrict");
  }
  return abi;
}

// Everything that reaches another process, host or the kernel's innards.
constexpr std::array kDeniedCalls = {
    SCMP_SYS(socket),           SCMP_SYS(socketpair),
    SCMP_SYS(connect),          SCMP_SYS(bind),
    SCMP_SYS(listen),           SCMP_SYS(accept),
    SCMP_SYS(accept4),          SCMP_SYS(sendto),
    SCMP_SYS(sendmsg),          SCMP_SYS(sendmmsg),
    SCMP_SYS(recvfrom),         SCMP_SYS(recvmsg),
    SCMP_SYS(recvmmsg),         SCMP_SYS(execve),
    SCMP_SYS(execveat),         SCMP_SYS(ptrace),
    SCMP_SYS(process_vm_readv), SCMP_SYS(process_vm_writev),
    SCMP_SYS(io_uring_setup),   SCMP_SYS(bpf),
    SCMP_SYS(perf_event_open),  SCMP_SYS(mount),
    SCMP_SYS(umount2),          SCMP_SYS(pivot_root),
    SCMP_SYS(chroot),           SCMP_SYS(setns),
    SCMP_SYS(unshare),          SCMP_SYS(keyctl),
    SCMP_SYS(add_key),          SCMP_SYS(request_key),
    SCMP_SYS(userfaultfd),      SCMP_SYS(init_module),
    SCMP_SYS(finit_module),     SCMP_SYS(kexec_load)};

Status ConfineSystemCalls() {
  const std::unique_ptr<void, decltype(&seccomp_release)> filter(
      seccomp_init(SCMP_ACT_ALLOW), &seccomp_release);
  if (filter == nullptr) {
    return FailedPrecondition("sandbox: seccomp is not available");
  }
  for (const int call : kDeniedCalls) {
    if (const int error =
            seccomp_rule_add(filter.get(), SCMP_ACT_ERRNO(EPERM), call, 0);
        error != 0) {
      return ErrnoStatus(-error, "sandbox: seccomp rule");
    }
  }
  // All threads, also those that a library has started already.
  seccomp_attr_set(filter.get(), SCMP_FLTATR_CTL_TSYNC, 1);
  if (const int error = seccomp_load(filter.get()); error != 0) {
    return ErrnoStatus(-error, "sandbox: load seccomp filter");
  }
  return absl::OkStatus();
}

bool CanOpenSocket(int family) {
  const FileDescriptor socket_fd(socket(family, SOCK_STREAM, 0));
  return socket_fd.valid();
}

bool CanExecute() {
  const pid_t child = fork();
  if (child == 0) {
    execl("/bin/true", "true", nullptr);
    _exit(111);
  }
  int status = 0;
  if (child < 0 || waitpid(child, &status, 0) != child) {
    return false;
  }
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

}  // namespace

StatusOr<SandboxState> EnterSandbox(const SandboxOptions& options) {
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
    return ErrnoStatus(errno, "sandbox: no_new_privs");
  }
  SandboxState state;
  ASSIGN_OR_RETURN(state.landlock_abi, ConfineFiles(options));
  RETURN_IF_ERROR(ConfineSystemCalls());
  state.seccomp = true;
  return state;
}

SandboxProbe ProbeSandbox() {
  return {.inet_socket = CanOpenSocket(AF_INET),
          .unix_socket = CanOpenSocket(AF_UNIX),
          .execute = CanExecute()};
}

}  // namespace tributary::jobs

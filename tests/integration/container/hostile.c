/* A program that tries to get out. Each line it prints is "NAME blocked ERRNO" or "NAME OPEN". Compiled by
   breakout_test.cpp, static, and put into an image. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static void tell(const char* name, long result) {
  if (result >= 0)
    printf("%s OPEN\n", name);
  else
    printf("%s blocked %s\n", name, strerrorname_np(errno));
  fflush(stdout);
}

static long open_for(const char* path, int flags) {
  int fd = open(path, flags);
  if (fd >= 0) close(fd);
  return fd;
}

static long write_to(const char* path, const char* text) {
  int fd = open(path, O_WRONLY);
  if (fd < 0) return fd;
  long n = write(fd, text, strlen(text));
  close(fd);
  return n;
}

static long new_link(void) {
  int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
  struct { struct nlmsghdr h; struct ifinfomsg i; } m = {{sizeof m, RTM_NEWLINK, NLM_F_REQUEST | NLM_F_ACK, 1, 0}, {0}};
  m.i.ifi_index = 1;
  m.i.ifi_change = 1; /* IFF_UP away: lo down */
  char answer[512];
  if (fd < 0 || send(fd, &m, sizeof m, 0) < 0 || recv(fd, answer, sizeof answer, 0) < 0) return -1;
  struct nlmsgerr* e = NLMSG_DATA((struct nlmsghdr*)answer);
  close(fd);
  errno = -e->error;
  return e->error;
}

/* Every descriptor as a door: /proc/self/fd/N/../../.. is the host when N is a folder of the host (CVE-2024-21626). */
static long through_descriptors(const char* canary) {
  char path[256];
  for (int fd = 0; fd < 256; ++fd)
    for (int up = 0; up < 8; ++up) {
      int n = snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
      for (int i = 0; i < up; ++i) n += snprintf(path + n, sizeof path - n, "/..");
      snprintf(path + n, sizeof path - n, "%s", canary);
      if (access(path, F_OK) == 0) return 0;
    }
  return -1;
}

static long through_cwd(const char* canary) {
  char path[256];
  snprintf(path, sizeof path, "/proc/self/cwd/../../../../../../../..%s", canary);
  if (access(path, F_OK) == 0) return 0;
  snprintf(path, sizeof path, "/proc/1/%s/../..%s", "root", canary);
  if (access(path, F_OK) == 0) return 0;
  snprintf(path, sizeof path, "/proc/1/cwd/../../../..%s", canary);
  if (access(path, F_OK) == 0) return 0;
  /* a chroot inside a chroot, as in 1995 */
  mkdir("/tmp/x", 0700);
  if (chroot("/tmp/x") == 0) {
    for (int i = 0; i < 32; ++i) (void)!chdir("..");
    if (chroot(".") == 0 && access(canary, F_OK) == 0) return 0;
  }
  return -1;
}

static long more_descriptors(void) {
  for (int fd = 3; fd < 1024; ++fd)
    if (fcntl(fd, F_GETFD) >= 0) return fd;
  errno = EBADF;
  return -1;
}

/* Takes /proc/self/exe of whoever runs us and writes to it (CVE-2019-5736). */
static long rewrite_exe(const char* path) {
  for (int i = 0; i < 100; ++i)
    if (open_for(path, O_WRONLY | O_TRUNC) >= 0) return 0;
  return -1;
}

static long signal_outside(void) {
  /* what is not ours must not even be seen */
  for (int pid = 2; pid < 4096; ++pid)
    if (pid != getpid() && kill(pid, 0) == 0) return pid;
  errno = ESRCH;
  return -1;
}

static long with_new_user_namespace(int (*how)(void)) {
  pid_t child = fork();
  if (child == 0) _exit(how() == 0 ? 0 : errno);
  int status = 0;
  waitpid(child, &status, 0);
  errno = WIFEXITED(status) ? WEXITSTATUS(status) : EIO;
  return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -1;
}
static int by_unshare(void) { return unshare(CLONE_NEWUSER); }
static int by_clone(void) {
  long pid = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
  if (pid == 0) _exit(0);
  return pid > 0 ? 0 : -1;
}
static int by_clone3(void) {
  unsigned long long args[11] = {CLONE_NEWUSER, 0, 0, 0, SIGCHLD, 0, 0, 0, 0, 0, 0};
  long pid = syscall(SYS_clone3, args, sizeof args);
  if (pid == 0) _exit(0);
  return pid > 0 ? 0 : -1;
}

int main(int argc, char** argv) {
  const char* canary = argc > 1 ? argv[1] : "/etc/shadow";
  char buffer[4096] = {0};
  unsigned long long zeros[16] = {0};

  tell("descriptors", more_descriptors());
  tell("host-file", open_for(canary, O_RDONLY));
  tell("host-file-through-descriptors", through_descriptors(canary));
  tell("host-file-through-cwd", through_cwd(canary));
  tell("write-root", open_for("/new", O_WRONLY | O_CREAT));
  tell("rewrite-own-exe", rewrite_exe("/proc/self/exe"));
  tell("rewrite-init-exe", getpid() == 1 ? -1 : rewrite_exe("/proc/1/exe"));

  tell("mount", mount("none", "/tmp", "tmpfs", 0, 0));
  tell("remount-root", mount("none", "/", 0, MS_REMOUNT | MS_BIND, 0));
  tell("umount-proc-mask", umount2("/proc/kcore", MNT_DETACH));
  tell("fsopen", syscall(SYS_fsopen, "proc", 0));
  tell("open_tree", syscall(SYS_open_tree, AT_FDCWD, "/", 1));
  tell("move_mount", syscall(SYS_move_mount, AT_FDCWD, "/tmp", AT_FDCWD, "/proc", 0));
  tell("pivot_root", syscall(SYS_pivot_root, "/tmp", "/tmp"));
  tell("chroot", chroot("/tmp"));
  tell("unshare-user", with_new_user_namespace(by_unshare));
  tell("clone-user", with_new_user_namespace(by_clone));
  tell("clone3-user", with_new_user_namespace(by_clone3));
  tell("unshare-net", unshare(CLONE_NEWNET));
  tell("unshare-mount", unshare(CLONE_NEWNS));
  tell("setns", setns(open("/proc/1/ns/mnt", O_RDONLY), 0));

  tell("ptrace", ptrace(PTRACE_TRACEME, 0, 0, 0));
  tell("process_vm_readv", syscall(SYS_process_vm_readv, getpid(), zeros, 0, zeros, 0, 0));
  tell("kcmp", syscall(SYS_kcmp, 1, 1, 0, 0, 0));
  tell("pidfd_getfd", syscall(SYS_pidfd_getfd, 0, 0, 0));
  tell("bpf", syscall(SYS_bpf, 0, zeros, sizeof zeros));
  tell("perf_event_open", syscall(SYS_perf_event_open, zeros, 0, -1, -1, 0));
  tell("keyctl", syscall(SYS_keyctl, 0, -3, 1));
  tell("add_key", syscall(SYS_add_key, "user", "x", "y", 1, -3));
  tell("io_uring_setup", syscall(SYS_io_uring_setup, 1, buffer));
  tell("userfaultfd", syscall(SYS_userfaultfd, 0));
  tell("init_module", syscall(SYS_init_module, buffer, 1, ""));
  tell("kexec_load", syscall(SYS_kexec_load, 0, 0, 0, 0));
  tell("reboot", syscall(SYS_reboot, 0xfee1dead, 672274793, 0, 0));
  tell("swapon", swapon("/tmp/x", 0));
  tell("settimeofday", settimeofday(&(struct timeval){1, 1}, 0));
  tell("sethostname", sethostname("evil", 4));
  tell("syslog", syscall(SYS_syslog, 3, buffer, sizeof buffer));
  tell("open_by_handle_at", syscall(SYS_open_by_handle_at, AT_FDCWD, zeros, 0));
  tell("quotactl", syscall(SYS_quotactl, 0, 0, 0, 0));
  tell("iopl", syscall(SYS_iopl, 3));
  tell("seccomp-off", syscall(SYS_seccomp, 0, 1, 0));

  tell("setuid-0", setuid(0));
  tell("setgid-0", setgid(0));
  tell("setgroups", syscall(SYS_setgroups, 0, 0));
  tell("mknod-disk", mknod("/tmp/disk", S_IFBLK | 0600, 0x0800));
  tell("mknod-null", mknod("/tmp/null", S_IFCHR | 0600, 0x0103));
  tell("nice-up", setpriority(PRIO_PROCESS, 0, -10));
  tell("oom-immune", write_to("/proc/self/oom_score_adj", "-1000"));
  tell("more-files", setrlimit(RLIMIT_NOFILE, &(struct rlimit){1 << 30, 1 << 30}));

  tell("kcore", open_for("/proc/kcore", O_RDONLY) >= 0 && open_for("/proc/kcore", O_RDONLY) >= 0 &&
                        read(open("/proc/kcore", O_RDONLY), buffer, 64) > 0 ? 0 : -1);
  tell("keys", read(open("/proc/keys", O_RDONLY), buffer, 64) > 0 ? 0 : -1);
  tell("timer_list", read(open("/proc/timer_list", O_RDONLY), buffer, 64) > 0 ? 0 : -1);
  tell("core_pattern", write_to("/proc/sys/kernel/core_pattern", "|/tmp/x"));
  tell("sysrq", write_to("/proc/sysrq-trigger", "h"));
  tell("uevent_helper", write_to("/sys/kernel/uevent_helper", "/tmp/x"));
  tell("cgroup-escape", write_to("/sys/fs/cgroup/memory/cgroup.procs", "1"));
  tell("cgroup-limit", write_to("/sys/fs/cgroup/memory/memory.limit_in_bytes", "-1"));
  tell("cgroup-limit-v2", write_to("/sys/fs/cgroup/memory.max", "max"));
  tell("release_agent", write_to("/sys/fs/cgroup/memory/release_agent", "/tmp/x"));
  tell("firmware", open_for("/sys/firmware/efi", O_RDONLY));
  tell("dev-mem", open_for("/dev/mem", O_RDONLY));
  tell("dev-kmsg", open_for("/dev/kmsg", O_RDONLY));
  tell("dev-console", open_for("/dev/console", O_RDWR));
  tell("dev-fuse", open_for("/dev/fuse", O_RDWR));
  tell("dev-tun", open_for("/dev/net/tun", O_RDWR));

  tell("AF_ALG", socket(38, SOCK_SEQPACKET, 0));
  tell("AF_PACKET", socket(AF_PACKET, SOCK_RAW, htons(3)));
  tell("AF_VSOCK", socket(40, SOCK_STREAM, 0));
  tell("raw-ip", socket(AF_INET, SOCK_RAW, 1));
  tell("link-down", new_link());
  tell("signal-outside", signal_outside());
  return 0;
}

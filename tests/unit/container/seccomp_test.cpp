// Our filter beside Moby's default profile (data/seccomp-default.json): every difference is here, with its reason. A
// change of either file fails this test until the difference is explained.
#include <boost/json.hpp>
#include <catch2/catch.hpp>
#include <iostream>
#include <map>
#include <set>

#include "container/bundle.hpp"
#include "wick/os/files.hpp"

using namespace wick;
using namespace wick::container;
namespace json = boost::json;

namespace {

using Names = std::set<std::string>;

struct Difference {
  const char* reason;
  Names names;
};

// clang-format off
const std::vector<Difference> moby_only{
    {"calls of 32-bit ABIs: the filter is for the machine's own 64-bit one, others are killed by its architecture check",
     {"_llseek", "_newselect", "chown32", "clock_adjtime64", "clock_getres_time64", "clock_gettime64",
      "clock_nanosleep_time64", "fadvise64_64", "fchown32", "fcntl64", "fstat64", "fstatat64", "fstatfs64", "ftruncate64",
      "futex_time64", "get_thread_area", "getegid32", "geteuid32", "getgid32", "getgroups32", "getresgid32", "getresuid32",
      "getuid32", "io_pgetevents_time64", "ipc", "lchown32", "lstat64", "mmap2", "mq_timedreceive_time64",
      "mq_timedsend_time64", "ppoll_time64", "pselect6_time64", "recv", "recvmmsg_time64", "rt_sigtimedwait_time64",
      "sched_rr_get_interval_time64", "semtimedop_time64", "send", "sendfile64", "set_thread_area", "setfsgid32",
      "setfsuid32", "setgid32", "setgroups32", "setregid32", "setresgid32", "setresuid32", "setreuid32", "setuid32",
      "sigprocmask", "sigreturn", "socketcall", "stat64", "statfs64", "timer_gettime64", "timer_settime64",
      "timerfd_gettime64", "timerfd_settime64", "truncate64", "ugetrlimit", "utimensat_time64", "waitpid"}},
    {"never worked on 64-bit Linux", {"epoll_ctl_old", "epoll_wait_old"}},
    {"riscv64: glibc asks and goes on without", {"riscv_hwprobe"}},
    {"one hijacked worker must not read or steer its neighbours of the same user",
     {"ptrace", "process_vm_readv", "process_vm_writev"}},
    {"16-bit segments: attack surface that nothing but Wine and DOSEMU uses", {"modify_ldt"}},
    {"tells which pages of shared layers other tenants have read", {"cachestat"}},
    {"file handles outlive the path checks they went around", {"name_to_handle_at"}},
    {"watches by fanotify need a capability that nobody has", {"fanotify_mark"}},
    {"tells the mounts of the host's folders behind the root", {"listmount", "statmount"}},
    {"memory that the host cannot reclaim, dump or account well", {"memfd_secret"}},
    {"reads and steers the host's clock; reading it is clock_gettime", {"adjtimex", "clock_adjtime"}},
    {"for uprobes, which need a capability that nobody has", {"uretprobe"}},
};
const std::vector<Difference> ours_only{
    {"reads the caller's own NUMA policy: libnuma and the JVM ask at start", {"get_mempolicy"}},
};
// clang-format on

/// Moby's own form, decided for amd64, a new kernel and no capability (its README says how).
Names allowed_by_moby(const json::object& profile) {
  const auto has = [](const json::object& rule, const char* part, const char* key, std::string_view value) {
    const auto* found = rule.if_contains(part);
    const auto* list = found && found->is_object() ? found->get_object().if_contains(key) : nullptr;
    if (!list || !list->is_array()) return std::pair(false, false);
    return std::pair(true,
                     std::ranges::any_of(list->get_array(), [&](const auto& v) { return v.as_string() == value; }));
  };
  Names names;
  for (const auto& value : profile.at("syscalls").as_array()) {
    const auto& rule = value.as_object();
    if (rule.at("action").as_string() != "SCMP_ACT_ALLOW") continue;
    const auto [by_arch, is_ours] = has(rule, "includes", "arches", "amd64");
    if ((by_arch && !is_ours) || has(rule, "includes", "caps", "").first ||
        has(rule, "excludes", "arches", "amd64").second)
      continue;
    for (const auto& name : rule.at("names").as_array()) names.emplace(name.as_string());
  }
  return names;
}

json::object ours() {
  InstanceSpec spec;
  spec.process.argv = {"x"};
  const Bundle bundle{.root = "/r", .cgroup = "/c", .network = "/n", .sys = "/s"};
  return json::parse(compose_config(spec, bundle, HostFacts{})).at("linux").at("seccomp").as_object();
}

Names allowed_by(const json::object& profile) {
  Names names;
  for (const auto& rule : profile.at("syscalls").as_array())
    if (rule.at("action").as_string() == "SCMP_ACT_ALLOW")
      for (const auto& name : rule.at("names").as_array()) names.emplace(name.as_string());
  return names;
}

Names minus(const Names& a, const Names& b) {
  Names out;
  std::ranges::set_difference(a, b, std::inserter(out, out.end()));
  return out;
}

Names all_of(const std::vector<Difference>& differences) {
  Names out;
  for (const auto& difference : differences) out.insert(difference.names.begin(), difference.names.end());
  return out;
}

/// The values that the rules of `name` compare argument 0 with, by operator.
std::multimap<std::string, std::uint64_t> arguments_of(const json::object& profile, std::string_view name) {
  std::multimap<std::string, std::uint64_t> out;
  for (const auto& rule : profile.at("syscalls").as_array())
    if (rule.at("action").as_string() == "SCMP_ACT_ALLOW" && rule.at("names").as_array().front().as_string() == name)
      for (const auto& argument : rule.at("args").as_array())
        out.emplace(argument.at("op").as_string(), argument.at("value").to_number<std::uint64_t>());
  return out;
}

}  // namespace

TEST_CASE("every difference from Moby's default profile has its reason") {
  const auto text = read_file(std::filesystem::path(SHARED_DATA) / "seccomp-default.json");
  if (!text) {
    std::cerr << "SKIPPED: " << SHARED_DATA << "/seccomp-default.json is not here\n";
    return;
  }
  const auto moby = json::parse(*text).as_object();
  const auto wick = ours();
  CHECK(minus(allowed_by_moby(moby), allowed_by(wick)) == all_of(moby_only));
  CHECK(minus(allowed_by(wick), allowed_by_moby(moby)) == all_of(ours_only));
  CHECK(wick.at("defaultAction") == moby.at("defaultAction"));
  CHECK(wick.at("defaultErrnoRet") == moby.at("defaultErrnoRet"));
}

TEST_CASE("socket families, personalities and clone's flags are compared, not only named") {
  const auto wick = ours();
  using Values = std::multimap<std::string, std::uint64_t>;
  // Moby allows every family but AF_ALG (38) and AF_VSOCK (40). We allow what programs of a container open; the rest
  // (AF_PACKET, AF_BLUETOOTH, AF_CAN, AF_TIPC, AF_XDP …) is kernel code that few have looked at.
  CHECK(arguments_of(wick, "socket") ==
        Values{{"SCMP_CMP_EQ", 1}, {"SCMP_CMP_EQ", 2}, {"SCMP_CMP_EQ", 10}, {"SCMP_CMP_EQ", 16}});
  // Moby also allows PER_LINUX32 and UNAME26, for 32-bit and pre-3.0 programs.
  CHECK(arguments_of(wick, "personality") == Values{{"SCMP_CMP_EQ", 0}, {"SCMP_CMP_EQ", 0xffffffff}});
  // The same as Moby's: no namespace.
  CHECK(arguments_of(wick, "clone") == Values{{"SCMP_CMP_MASKED_EQ", 0x7E020000}});
}

// The pure parts: config.json, users, answers of helpers, the runtime's messages, control group files, logs.
#include <fcntl.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <catch2/catch.hpp>

#include "container/bundle.hpp"
#include "container/cgroup.hpp"
#include "container/log_files.hpp"
#include "container/passwd.hpp"
#include "container/process_facts.hpp"
#include "container/runtime_command.hpp"
#include "container/sandbox.hpp"
#include "wick/os/files.hpp"

using namespace wick;
using namespace wick::container;
using Catch::Matchers::Contains;

namespace {

boost::json::object config_of(const InstanceSpec& spec,
                              Bundle bundle = {.root = "/run/r/0", .cgroup = "/wick/x", .network = "/n", .sys = "/s"}) {
  return boost::json::parse(compose_config(spec, bundle, HostFacts{})).as_object();
}

InstanceSpec service() {
  InstanceSpec spec;
  spec.id = *InstanceId::parse("0123456789abcdef");
  spec.id_range = 2;
  spec.layers = {Digest::of("a")};
  spec.process.argv = {"/bin/sh", "-c", "echo \"@UID@\" \\ \n\x01"};
  spec.process.environment = {"A=@ROOT@"};
  return spec;
}

}  // namespace

TEST_CASE("a service's config has no way out") {
  const auto config = config_of(service());
  const auto& process = config.at("process").as_object();
  CHECK(process.at("noNewPrivileges").as_bool());
  for (const char* set : {"bounding", "effective", "permitted", "inheritable", "ambient"})
    CHECK(process.at("capabilities").at(set).as_array().empty());
  CHECK(config.at("root").at("readonly").as_bool());
  CHECK(process.at("args").at(2).as_string() == "echo \"@UID@\" \\ \n\x01");
  CHECK(process.at("env").at(0).as_string() == "A=@ROOT@");
  const auto& linux_part = config.at("linux").as_object();
  CHECK(linux_part.at("namespaces").as_array().size() == 7);
  CHECK(linux_part.at("uidMappings").at(0).at("hostID").to_number<std::uint32_t>() ==
        id_range_base + 2 * id_range_size);
  CHECK(linux_part.at("seccomp").at("defaultAction").as_string() == "SCMP_ACT_ERRNO");
  CHECK(linux_part.at("seccomp").at("architectures").as_array().size() == 1);
  CHECK(linux_part.at("resources").at("memory").at("swap") == linux_part.at("resources").at("memory").at("limit"));
  CHECK(compose_config(service(), {.root = "/r", .cgroup = "/c", .network = "/n", .sys = "/s"}, HostFacts{})
            .find("@ARCH") == std::string::npos);
}

TEST_CASE("a build step gets Docker's capabilities and a network of its own") {
  auto spec = service();
  spec.privileges = Privileges::build;
  const auto config = config_of(spec, {.root = "/r",
                                       .cgroup = "/c",
                                       .network = "/proc/1/fd/7",
                                       .sys = "/n/1",
                                       .resolv_conf = "/e/resolv.conf",
                                       .hosts = "/e/hosts"});
  CHECK(config.at("process").at("capabilities").at("effective").as_array().size() == 14);
  CHECK_FALSE(config.at("root").at("readonly").as_bool());
  CHECK(config.at("linux").at("namespaces").as_array().back().at("path").as_string() == "/proc/1/fd/7");
  const auto text = boost::json::serialize(config);
  CHECK_THAT(text, Contains("/e/resolv.conf") && Contains("chroot") && !Contains(R"("type":"sysfs")"));
}

TEST_CASE("the filter allows no call that leads out of a container") {
  const auto profile = config_of(service()).at("linux").at("seccomp");
  for (const auto& rule : profile.at("syscalls").as_array()) {
    if (rule.at("action").as_string() != "SCMP_ACT_ALLOW") continue;
    for (const auto& name : rule.at("names").as_array())
      for (const char* forbidden : {"ptrace", "bpf", "mount", "umount2", "unshare", "setns", "keyctl", "add_key",
                                    "io_uring_setup", "userfaultfd", "perf_event_open", "kexec_load", "init_module",
                                    "open_by_handle_at", "pivot_root", "reboot", "clone3"})
        CHECK(name.as_string() != forbidden);
  }
}

TEST_CASE("users are found as Docker finds them") {
  constexpr const char* passwd = "root:x:0:0::/:/bin/sh\napp:x:1000:1001::/:\nbroken\nbig:x:70000:1::/:\n";
  constexpr const char* group = "root:x:0:\nstaff:x:50:app,other\nwheel:x:10:app\n";
  const auto find = [&](const char* user) { return find_user(user, passwd, group); };
  CHECK(find("")->uid == 0);
  CHECK(find("app")->uid == 1000);
  CHECK(find("app")->gid == 1001);
  CHECK(find("app")->groups == std::vector<std::uint32_t>{50, 10});
  CHECK(find("app:staff")->gid == 50);
  CHECK(find("app:staff")->groups.empty());
  CHECK(find("1000")->gid == 1001);
  CHECK(find("4321")->uid == 4321);
  CHECK(find("4321")->gid == 0);
  CHECK(find("4321:77")->gid == 77);
  CHECK(find("nobody").error().code() == Errc::not_found);
  CHECK_THAT(find("app:nogroup").error().what(), Contains("nogroup"));
  CHECK(find("70000").error().code() == Errc::invalid);
  CHECK(find("big").error().code() == Errc::not_found);
  CHECK(find("99999999999999999999").error().code() == Errc::invalid);
}

TEST_CASE("a helper's answer is its last line, whatever stands around it") {
  CHECK(*parse_answer("noise\nok 3 4\n==1== leak\n") == "3 4");
  CHECK(*parse_answer(write_answer(std::string("x"))) == "x");
  const auto error = parse_answer(write_answer(fail(Errc::too_large, "two\nlines")));
  REQUIRE_FALSE(error);
  CHECK(error.error().code() == Errc::too_large);
  CHECK(parse_answer("").error().code() == Errc::internal);
  CHECK(parse_answer("error x y").error().code() == Errc::internal);
  CHECK(parse_answer("error 999 y").error().code() == Errc::internal);
}

TEST_CASE("the runtime's messages become sentences") {
  const Process process{.argv = {"/app"}, .environment = {}, .working_folder = "/srv", .groups = {}};
  const auto explain = [&](std::string_view message) {
    return explain_runtime_failure(
               "time=\"x\" level=error msg=\"runc create failed: unable to start container process: " +
                   std::string(message) + "\"\n",
               process)
        .what();
  };
  CHECK(explain(R"(exec: \"/app\": stat /app: no such file or directory)") == "the command '/app' is not in the image");
  CHECK(explain(R"(exec: \"/app\": permission denied)") == "the command '/app' is not executable for user 65532");
  CHECK_THAT(explain("error during container init: mkdir /srv: read-only file system"),
             Contains("working folder '/srv'"));
  CHECK(explain("something \\\"new\\\"") == "something \"new\"");
}

TEST_CASE("a command in a container is shown the runtime's state without the network, which was entered before") {
  const auto shown = state_without_network(
      R"({"id":"x","config":{"namespaces":[{"type":"NEWNS","path":""},{"type":"NEWNET","path":"/proc/1/fd/2"}]},)"
      R"("namespace_paths":{"NEWNET":"/proc/9/ns/net","NEWNS":"/proc/9/ns/mnt"}})");
  REQUIRE(shown);
  CHECK(*shown == R"({"id":"x","config":{"namespaces":[{"type":"NEWNS","path":""}]},)"
                  R"("namespace_paths":{"NEWNS":"/proc/9/ns/mnt"}})");
  for (const std::string_view other :
       {"", "[]", R"({"config":{}})", R"({"config":{"namespaces":[]},"namespace_paths":{}})"})
    CHECK(state_without_network(other).error().code() == Errc::unsupported);
}

TEST_CASE("a process' name may hold anything") {
  const auto stat =
      parse_stat("42 (a) b (c)) S 1 42 42 0 -1 4194560 810 0 0 0 0 1 0 0 20 0 1 0 213350 2322432 332 1\n");
  REQUIRE(stat);
  CHECK(stat->name == "a) b (c)");
  CHECK(stat->start_time == 213350);
  const auto zombie = parse_stat(
      "9702 (runc:[2:INIT]) Z 1 9702 9702 0 -1 4227404 655 0 1 0 0 1 0 0 20 0 1 0 213227 0 0 18446744073709551615 0 0 "
      "0 0 0 0 0 65536 "
      "2143354623 1 0 0 17 0 0 0 0 0 0 0 0 0 0 0 0 0 256\n");
  REQUIRE(zombie);
  CHECK(zombie->state == 'Z');
  CHECK(from_wait_status(zombie->wait_status).code == 1);
  CHECK(from_wait_status(9).signal == 9);
  CHECK_FALSE(parse_stat(""));
  CHECK_FALSE(parse_stat("1 (x) S 1"));
}

TEST_CASE("control groups are read in both versions") {
  auto folder = TemporaryFolder::make("/tmp");
  REQUIRE(folder);
  const auto id = InstanceId::random();
  const auto put = [&](const std::string& path, std::string_view text) {
    REQUIRE(make_folders((folder->path() / path).parent_path()));
    REQUIRE(write_file(folder->path() / path, text));
  };
  const std::string name = "wick/" + std::string(id.text()) + "/";
  SECTION("version 1") {
    put("memory/" + name + "memory.usage_in_bytes", "4096\n");
    put("memory/" + name + "memory.limit_in_bytes", "8192\n");
    put("memory/" + name + "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n");
    put("cpuacct/" + name + "cpuacct.usage", "5000000\n");
    put("pids/" + name + "pids.current", "3\n");
  }
  SECTION("version 2") {
    put("cgroup.controllers", "cpu memory pids\n");
    put(name + "memory.current", "4096\n");
    put(name + "memory.max", "8192\n");
    put(name + "memory.events", "low 0\noom 2\noom_kill 2\noom_group_kill 0\n");
    put(name + "cpu.stat", "usage_usec 5000\nuser_usec 1\n");
    put(name + "pids.current", "3\n");
  }
  const Cgroups cgroups(folder->path());
  const auto usage = cgroups.usage(id);
  REQUIRE(usage);
  CHECK(usage->memory_bytes == 4096);
  CHECK(usage->memory_limit_bytes == 8192);
  CHECK(usage->cpu_usec == 5000);
  CHECK(usage->pids == 3);
  CHECK(usage->oom_kills == 2);
  CHECK(cgroups.usage(InstanceId::random()).error().code() == Errc::not_found);
}

TEST_CASE("a log loses its older half, never its end, and a writer goes on") {
  auto folder = TemporaryFolder::make("/tmp");
  REQUIRE(folder);
  const auto file = folder->path() / "x.log";
  auto writer = open_file(file, O_WRONLY | O_APPEND | O_CREAT, 0600);
  REQUIRE(writer);
  std::string text;
  for (int i = 0; i < 20000; ++i) text += "line " + std::to_string(i) + "\n";
  REQUIRE(write_all(writer->get(), text));
  CHECK(*shorten_log(file, 1 << 20) == 0);
  const auto dropped = shorten_log(file, 100'000);
  REQUIRE(dropped);
  CHECK(*dropped > 50'000);
  REQUIRE(write_all(writer->get(), "after\n"));
  const auto left = *read_file(file);
  CHECK(left.size() <= 100'000);
  CHECK(left == text.substr(*dropped) + "after\n");
  CHECK(tail_of(file, 2) == std::vector<std::string>{"line 19999", "after"});
  CHECK(tail_of(folder->path() / "none", 2).empty());
}

TEST_CASE("of the logs of many owners with one each the oldest ended go") {
  auto folder = TemporaryFolder::make("/tmp");
  REQUIRE(folder);
  LogFiles logs(folder->path(), {});
  constexpr int most = 2000;
  for (int i = 0; i < most + 2; ++i) {
    auto spec = service();
    spec.id = InstanceId::random();
    REQUIRE(logs.open(spec, "default/jobs/" + std::to_string(i), WallTime{} + std::chrono::seconds(i)));
    if (i > 0) logs.set_ended(spec.id, Exit{.id = spec.id});
  }
  CHECK(logs.of("default/jobs/0").size() == 1);  // it runs
  CHECK(logs.of("default/jobs/1").empty());
  CHECK(logs.of("default/jobs/2").size() == 1);
}

TEST_CASE("logs of an owner: newest first, the oldest ended go") {
  auto folder = TemporaryFolder::make("/tmp");
  REQUIRE(folder);
  const LogOptions options{.keep_ended = 2};
  std::vector<InstanceId> ids;
  {
    LogFiles logs(folder->path(), options);
    for (int i = 0; i < 4; ++i) {
      auto spec = service();
      spec.id = InstanceId::random();
      ids.push_back(spec.id);
      REQUIRE(logs.open(spec, "default/r", WallTime{} + std::chrono::seconds(i)));
      if (i < 3) logs.set_ended(spec.id, Exit{.id = spec.id});
    }
    const auto found = logs.of("default/r");
    REQUIRE(found.size() == 3);
    CHECK(found[0].id == ids[3]);
    CHECK(found[0].running);
    CHECK(found[2].id == ids[1]);
    CHECK(logs.of("default/other").empty());
  }
  CHECK(::access((folder->path() / (std::string(ids[0].text()) + ".log")).c_str(), F_OK) != 0);
  const LogFiles again(folder->path(), options);  // a later life knows them too
  CHECK(again.of("default/r").size() == 3);
  REQUIRE(again.find(ids[3]));
  CHECK(again.find(ids[3])->id_range == 2);
}

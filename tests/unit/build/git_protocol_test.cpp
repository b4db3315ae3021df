#include "wick/build/git_protocol.hpp"

#include <catch2/catch.hpp>

namespace wick::build {
namespace {

const std::string none(40, '0');
const std::string one(40, '1');
const std::string two(40, 'a');

std::string command_line(const std::string& old_id, const std::string& new_id, const std::string& ref,
                         const std::string& capabilities = {}) {
  auto line = old_id + " " + new_id + " " + ref;
  if (!capabilities.empty()) line += std::string(1, '\0') + " " + capabilities;
  return pkt_line(line);
}

}  // namespace

TEST_CASE("a push is read to the flush packet, and the pack behind it is left alone") {
  const auto head = command_line(none, one, "refs/heads/main", "report-status side-band-64k agent=git/2.39.5") +
                    command_line(one, two, "refs/tags/v1") + "0000";
  const auto parsed = parse_push(head + "PACK…");
  REQUIRE(parsed.has_value());
  REQUIRE(parsed->has_value());
  const auto& push = **parsed;
  CHECK(push.bytes == head.size());
  CHECK(push.request.report_status);
  CHECK(push.request.side_band);
  CHECK_FALSE(push.request.atomic);
  REQUIRE(push.request.commands.size() == 2);
  CHECK(push.request.commands[0].creates());
  CHECK(push.request.commands[0].ref == "refs/heads/main");
  CHECK(push.request.commands[1].new_id == two);
}

TEST_CASE("a push that has not come whole asks for more, at every byte") {
  const auto head =
      pkt_line("shallow " + one) + command_line(one, none, "refs/heads/old", "report-status atomic") + "0000";
  for (std::size_t size = 0; size < head.size(); ++size) {
    const auto parsed = parse_push(std::string_view(head).substr(0, size));
    REQUIRE(parsed.has_value());
    CHECK_FALSE(parsed->has_value());
  }
  const auto parsed = parse_push(head);
  REQUIRE((parsed && *parsed));
  CHECK((*parsed)->request.shallow == std::vector<std::string>{one});
  CHECK((*parsed)->request.commands.front().deletes());
  CHECK((*parsed)->request.atomic);
}

TEST_CASE("push options stand in a list of their own, where the pusher says so") {
  const auto commands = command_line(none, one, "refs/heads/main", "report-status push-options");
  const auto head = commands + "0000" + pkt_line("no-deploy\n") + pkt_line("env=A=b c") + "0000";
  for (std::size_t size = 0; size < head.size(); ++size) {
    const auto parsed = parse_push(std::string_view(head).substr(0, size));
    REQUIRE(parsed.has_value());
    CHECK_FALSE(parsed->has_value());
  }
  const auto parsed = parse_push(head + "PACK");
  REQUIRE((parsed && *parsed));
  CHECK((*parsed)->bytes == head.size());
  CHECK((*parsed)->request.options == std::vector<std::string>{"no-deploy", "env=A=b c"});
  CHECK((*parse_push(commands + "00000000"))->request.options.empty());
  std::string many;
  for (std::size_t i = 0; i <= PushLimits::options_max; ++i) many += pkt_line("x");
  CHECK_FALSE(parse_push(commands + "0000" + many + "0000").has_value());
  CHECK_FALSE(parse_push(commands + "0000" + pkt_line("a\x1b[2J") + "0000").has_value());
  CHECK(push_advertisement({}).contains(" push-options "));
}

TEST_CASE("a flush packet alone is a push of nothing") {
  const auto parsed = parse_push("0000");
  REQUIRE((parsed && *parsed));
  CHECK((*parsed)->request.commands.empty());
}

TEST_CASE("what is no push is refused") {
  for (const auto& bytes :
       {std::string("GET / HTTP/1.1"), std::string("0001"), std::string("0003"), std::string("fff1"),
        pkt_line("hello") + "0000", command_line(none, "xyz", "refs/heads/main"),
        command_line(none, std::string(64, '1'), "refs/heads/main"),
        command_line(none, one, "refs/heads/a\nok refs/heads/b"), pkt_line("push-cert abc")})
    CHECK_FALSE(parse_push(bytes + "0000").has_value());
}

TEST_CASE("a push has a bounded number of refs and bytes") {
  std::string many;
  for (std::size_t i = 0; i <= PushLimits::commands_max; ++i)
    many += command_line(none, one, "refs/heads/b" + std::to_string(i));
  const auto refused = parse_push(many + "0000");
  REQUIRE_FALSE(refused.has_value());
  CHECK(refused.error().code() == Errc::too_large);
  std::string huge;
  while (huge.size() <= PushLimits::head_bytes_max)
    huge += command_line(none, one, "refs/heads/" + std::string(60'000, 'x'));
  CHECK_FALSE(parse_push(huge).has_value());
}

TEST_CASE("only branches and tags of usual names can be pushed") {
  for (const auto* ref : {"refs/heads/main", "refs/heads/feature/x-1", "refs/tags/v1.2.3", "refs/heads/größe"})
    CHECK(is_pushable_ref(ref));
  for (const auto* ref : {"main",
                          "HEAD",
                          "refs/wick/incoming/0",
                          "refs/heads/",
                          "refs/heads/a..b",
                          "refs/heads/.a",
                          "refs/heads/a/.b",
                          "refs/heads/a.lock",
                          "refs/heads/a.lock/b",
                          "refs/heads/a b",
                          "refs/heads/a~1",
                          "refs/heads/a:b",
                          "refs/heads/a//b",
                          "refs/heads/a/",
                          "refs/heads/--upload-pack=x",
                          "refs/heads/a@{1}",
                          "refs/heads/a\\b",
                          "refs/heads/a.",
                          "refs/notes/x",
                          "refs/heads/../../x",
                          "refs/heads/HEAD"})
    CHECK_FALSE(is_pushable_ref(ref));
  CHECK_FALSE(is_pushable_ref("refs/heads/" + std::string(200, 'a')));
}

TEST_CASE("the commands that git gets are the ones that were asked for") {
  PushRequest request{.shallow = {two}, .commands = {{none, one, "refs/wick/incoming/0"}}};
  const auto parsed = parse_push(to_wire(request));
  REQUIRE((parsed && *parsed));
  CHECK((*parsed)->request.commands.front().ref == "refs/wick/incoming/0");
  CHECK((*parsed)->request.shallow == request.shallow);
  CHECK((*parsed)->request.report_status);
}

TEST_CASE("a report names every ref and why it was refused") {
  const auto text = push_report("", {{"refs/heads/main", "deploy failed: exit\n7"}, {"refs/heads/b", ""}});
  const auto report = parse_report(text);
  REQUIRE(report.has_value());
  CHECK(report->unpack_reason.empty());
  REQUIRE(report->refs.size() == 2);
  CHECK(report->refs[0].reason == "deploy failed: exit\\x0a7");
  CHECK(report->refs[1].reason.empty());
  CHECK(parse_report(push_report("index-pack abnormal exit", {}))->unpack_reason == "index-pack abnormal exit");
  CHECK_FALSE(parse_report("").has_value());
  CHECK_FALSE(parse_report("0000").has_value());
  CHECK_FALSE(parse_report(pkt_line("what?\n") + "0000").has_value());
}

TEST_CASE("long answers are cut into packets of the side band") {
  const auto packets = side_band(SideBand::progress, std::string(70'000, 'x'));
  CHECK(packets.starts_with("fff0\2xx"));
  CHECK(packets.size() == 70'000 + 2 * 5);
  CHECK(side_band(SideBand::report, "ok") == "0007\1ok");
}

TEST_CASE("an empty repository advertises what it can") {
  const auto nothing = push_advertisement({});
  CHECK(nothing.starts_with("001f# service=git-receive-pack\n0000"));
  CHECK(nothing.contains(none + " capabilities^{}" + std::string(1, '\0') + "report-status"));
  const auto some = push_advertisement({{one, "refs/heads/main"}, {two, "refs/tags/v1"}});
  CHECK(some.contains(pkt_line(two + " refs/tags/v1\n")));
  CHECK(some.ends_with("0000"));
}

}  // namespace wick::build

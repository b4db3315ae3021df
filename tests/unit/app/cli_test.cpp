// The shape of the command line: help, usage errors, colours; and the pure parts below it.
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <catch2/catch.hpp>
#include <filesystem>
#include <regex>

#include "app/cli/merge.hpp"
#include "app/cli/public_url.hpp"
#include "app/cli/source.hpp"
#include "app/cli/terminal.hpp"
#include "app/cli/verb_names.hpp"
#include "app/cli/verbs.hpp"
#include "fake_daemon.hpp"

namespace wick::app::cli {

namespace {

Ran run_without_daemon(std::vector<std::string> arguments) {
  return run_cli_with(std::move(arguments), {{"WICK_SOCKET", "/nonexistent/wick.sock"}});
}

json::object object(std::string_view text) { return boost::json::parse(text).as_object(); }

}  // namespace

TEST_CASE("help lists every verb, and each verb has help of its own") {
  const auto all = run_without_daemon({"--help"});
  CHECK(all.exit == 0);
  for (const auto verb : verb_names) {
    if (verb == "up" || verb == "ls") continue;  // other names of deploy and ps
    INFO(verb);
    CHECK(std::regex_search(all.out, std::regex("\n  " + std::string(verb) + "[ ,]")));
    const auto own = run_without_daemon({"help", std::string(verb)});
    CHECK(own.exit == 0);
    CHECK(own.out.find("Usage: wick " + std::string(verb)) != std::string::npos);
  }
  CHECK(run_without_daemon({"event", "send", "--help"}).out.find("--content-type") != std::string::npos);
  CHECK(run_without_daemon({}).out == all.out);
  CHECK(run_without_daemon({"help", "nosuch"}).exit == 2);
}

TEST_CASE("help knows the slugs") {
  CHECK(run_without_daemon({"help", "e_wrong_port"}).out.starts_with("E_WRONG_PORT\n"));
  for (const auto code : {Errc::internal, Errc::invalid, Errc::not_found, Errc::already_exists, Errc::conflict,
                          Errc::denied, Errc::too_large, Errc::overloaded, Errc::timed_out, Errc::unavailable,
                          Errc::unsupported, Errc::corrupt, Errc::io, Errc::build_failed, Errc::not_ready}) {
    INFO(slug(code));
    CHECK(help_topic(slug(code)));
    CHECK_FALSE(problem_of(Error(code, "x")).hint.empty());
  }
}

TEST_CASE("a command line that is not understood is exit 2 with the help to read") {
  for (const auto& arguments : std::vector<std::vector<std::string>>{{"frobnicate"},
                                                                     {"deploy", "--no-such-flag"},
                                                                     {"logs"},
                                                                     {"logs", "a", "b"},
                                                                     {"trigger"},
                                                                     {"event", "send"},
                                                                     {"deploy", "--port", "70000"},
                                                                     {"logs", "hello", "--tail", "x"},
                                                                     {"completion", "tcsh"}}) {
    const auto ran = run_without_daemon(arguments);
    INFO(arguments.front());
    CHECK(ran.exit == 2);
    CHECK(ran.out.empty());
    CHECK(ran.err.starts_with("error: "));
    CHECK(ran.err.find("  [E_USAGE]\n") != std::string::npos);
    CHECK(ran.err.find("  hint: wick help") != std::string::npos);
  }
  CHECK(run_without_daemon({"event", "send"}).err.find("hint: wick help event send\n") != std::string::npos);
}

TEST_CASE("completion scripts name every verb") {
  for (const auto* shell : {"bash", "zsh", "fish"}) {
    const auto ran = run_without_daemon({"completion", shell});
    CHECK(ran.exit == 0);
    for (const auto verb : verb_names) CHECK(ran.out.find(verb) != std::string::npos);
    CHECK(ran.out.find("wick __names") != std::string::npos);
  }
}

TEST_CASE("colour only on a terminal that wants it") {
  const std::map<std::string, std::string> nowhere{{"WICK_SOCKET", "/nonexistent/wick.sock"}};
  const auto coloured = [&](std::map<std::string, std::string> more, bool on_terminal) {
    more.insert(nowhere.begin(), nowhere.end());
    return run_cli_with({"ps"}, std::move(more), "", on_terminal).err.find('\x1b') != std::string::npos;
  };
  CHECK(coloured({}, true));
  CHECK_FALSE(coloured({}, false));
  CHECK_FALSE(coloured({{"NO_COLOR", "1"}}, true));
  CHECK_FALSE(coloured({{"TERM", "dumb"}}, true));
  CHECK(coloured({{"CLICOLOR_FORCE", "1"}}, false));
  CHECK_FALSE(coloured({{"CLICOLOR_FORCE", "1"}, {"NO_COLOR", "1"}}, false));
}

TEST_CASE("what a deploy is named by is told apart") {
  struct Row {
    const char* argument;
    const char* kind;
    const char* name;
  };
  const auto kind_of = [](const Source& source) {
    return std::holds_alternative<FolderSource>(source)   ? "folder"
           : std::holds_alternative<GitUrlSource>(source) ? "git"
                                                          : "image";
  };
  for (const auto& row :
       {Row{"https://github.com/acme/Api_Server.git", "git", "api-server"},
        Row{"https://github.com/acme/api#v1.2", "git", "api"}, Row{"git@github.com:acme/api.git", "git", "api"},
        Row{"ssh://git@host:2222/x/api.git/", "git", "api"},
        Row{"http://127.0.0.1:4000/hello-python.git", "git", "hello-python"}, Row{"file:///srv/api/.git", "git", "api"},
        Row{"hello", "image", "hello"}, Row{"hello:1.2", "image", "hello"},
        Row{"localhost:5000/team/hello:1", "image", "hello"}, Row{"ghcr.io/acme/hello@sha256:0123", "image", "hello"},
        Row{"docker.io/library/nginx", "image", "nginx"}, Row{"hello@sha256:0123", "image", "hello"}}) {
    INFO(row.argument);
    const auto source = parse_source(row.argument);
    REQUIRE(source);
    CHECK(kind_of(*source) == std::string(row.kind));
    CHECK(default_name(*source, "").value() == row.name);
  }
  CHECK(std::get<GitUrlSource>(*parse_source("https://h/x.git#feature/a")).ref == "feature/a");
  CHECK(default_name(*parse_source("https://h/mono.git"), "services/Api").value() == "api");
  CHECK(default_name(*parse_source("https://h/mono.git"), ".").value() == "mono");
  for (const char* wrong : {"./missing", "/missing", "has space", "https://h/x.git#", "/etc/hostname"})
    CHECK_FALSE(parse_source(wrong));
}

TEST_CASE("a name is made a DNS label that starts with a letter") {
  CHECK(label_from("My App_2") == "my-app-2");
  CHECK(label_from("--x--") == "x");
  CHECK(label_from("2048") == "app-2048");
  CHECK(label_from("été") == "t");
  CHECK(label_from("...").empty());
  CHECK(label_from(std::string(100, 'a')).size() == 63);
  CHECK_FALSE(default_name(FolderSource{"/"}, ""));
}

TEST_CASE("a three-way patch removes what we set before and leaves what others set") {
  const auto patch = [](const char* last, const char* wanted, const char* live) {
    return boost::json::serialize(three_way_patch(object(last), object(wanted), object(live)));
  };
  CHECK(patch("{}", R"({"a":1})", R"({"a":1,"b":2})") == "{}");
  CHECK(patch(R"({"a":1,"c":{"d":1,"e":1}})", R"({"c":{"d":2}})", R"({"a":1,"b":2,"c":{"d":1,"e":1,"f":1}})") ==
        R"({"c":{"d":2,"e":null},"a":null})");
  CHECK(patch(R"({"gone":1})", R"({"l":[1]})", R"({"l":[1,2]})") == R"({"l":[1]})");
  CHECK(patch("{}", R"({"a":{"b":1}})", R"({"a":3})") == R"({"a":{"b":1}})");
}

TEST_CASE("the URL gets the port the daemon listens on") {
  CHECK(with_port("http://h.localhost", "127.0.0.1:8080") == "http://h.localhost:8080");
  CHECK(with_port("http://h.localhost/x", "[::]:8080") == "http://h.localhost:8080/x");
  CHECK(with_port("http://h.localhost", "0.0.0.0:80") == "http://h.localhost");
  CHECK(with_port("http://h.localhost:1", "127.0.0.1:8080") == "http://h.localhost:1");
  CHECK(with_port("https://h", "127.0.0.1:8080") == "https://h");
  CHECK(with_port("http://h", "") == "http://h");
}

TEST_CASE("an error is printed in the one shape, with what comes from outside made safe") {
  const Problem problem{.what = "bad\x1b[2J",
                        .slug = "E_X",
                        .because = "a\nb",
                        .last_output = {"\tone\r"},
                        .notes = {"Still there."},
                        .hint = "do"};
  CHECK(text_of(problem) ==
        "error: bad\\x1b[2J  [E_X]\n  because: a\\x0ab\n  last output:\n        one\n  Still there.\n  hint: do\n");
}

TEST_CASE("durations read as a person says them") {
  CHECK(human_duration(0ms) == "0 ms");
  CHECK(human_duration(99ms) == "99 ms");
  CHECK(human_duration(100ms) == "0.1 s");
  CHECK(human_duration(59'900ms) == "59.9 s");
  CHECK(human_duration(123'000ms) == "2 min 3 s");
  CHECK(human_age(90s) == "90 s");
  CHECK(human_age(3h) == "3 h");
}

}  // namespace wick::app::cli

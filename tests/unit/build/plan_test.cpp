#include "build/plan.hpp"

#include <catch2/catch.hpp>

#include "build/selection.hpp"

namespace wick::build {
namespace {

Result<Plan> plan_of(const std::string& text, PlanRequest request = {},
                     std::map<std::string, image::ImageConfig> images = {}) {
  auto file = parse_dockerfile(text);
  if (!file) return fail(std::move(file.error()));
  auto outlined = outline(*file, request);
  if (!outlined) return fail(std::move(outlined.error()));
  for (const auto& name : outlined->images) images.try_emplace(name);
  return make_plan(*file, *outlined, request, images);
}

std::string run_text(const Plan& plan, std::size_t step) {
  const auto& run = std::get<RunStep>(plan.stages.back().steps[step].action);
  std::string out;
  for (const auto& entry : run.environment)
    if (!entry.starts_with("PATH=")) out += entry + " ";
  return out;
}

}  // namespace

TEST_CASE("ARG and ENV: the later line wins, and each sees what was before its line") {
  struct Row {
    const char* lines;
    std::map<std::string, std::string> build_args;
    const char* environment;
  };
  const Row rows[] = {
      {"ENV X=1\nARG X=2\n", {}, "X=2 "},
      {"ENV X=1\nARG X=2\n", {{"X", "9"}}, "X=9 "},
      {"ARG X=2\nENV X=1\n", {{"X", "9"}}, "X=1 "},
      {"ENV a=1\nENV a=2 b=$a\n", {}, "a=2 b=1 "},
      {"ARG G\n", {}, "G=5 "},
      {"", {}, ""},
      {"ARG N\n", {}, ""},
      {"ENV P=${TARGETARCH:-none}\n", {}, "P=none "},
      {"ARG TARGETARCH\nENV P=$TARGETARCH\n", {}, "P=amd64 TARGETARCH=amd64 "},
  };
  for (const auto& row : rows) {
    INFO(row.lines);
    const auto plan =
        plan_of(std::string("ARG G=5\nFROM scratch\n") + row.lines + "RUN x\n", {.build_args = row.build_args});
    if (!plan) FAIL(plan.error().what());
    CHECK(run_text(*plan, plan->stages.back().steps.size() - 1) == row.environment);
  }
}

TEST_CASE("a stage built on another inherits its arguments and configuration") {
  const auto plan = plan_of("FROM scratch AS x\nARG Q=7\nUSER me\nFROM x\nRUN y\n");
  REQUIRE(plan);
  CHECK(run_text(*plan, 0) == "Q=7 ");
  CHECK(plan->stages.back().config.user == "me");
}

TEST_CASE("only what the target needs is planned") {
  const std::string text =
      "FROM a AS one\nRUN 1\nFROM b AS two\nRUN 2\nFROM scratch AS three\nCOPY --from=one /x /\nFROM two\nRUN 4\n";
  const auto last = plan_of(text);
  REQUIRE(last);
  CHECK(last->stages.size() == 2);
  CHECK(last->stages[0].name == "two");
  const auto third = plan_of(text, {.target = "THREE"});
  REQUIRE(third);
  CHECK(third->stages[0].name == "one");
  CHECK(third->stages.back().name == "three");
  const auto by_number = plan_of(text, {.target = "0"});
  REQUIRE(by_number);
  CHECK(by_number->stages.size() == 1);
  const auto unknown = plan_of(text, {.target = "thre"});
  REQUIRE_FALSE(unknown);
  CHECK(unknown.error().hint() == "did you mean three?");
}

TEST_CASE("entry point, command and shell follow Docker's rules") {
  image::ImageConfig base;
  base.command = {"base"};
  base.environment = {"PATH=/bin", "A=1"};
  const auto config_of = [&](const std::string& lines) {
    return plan_of("FROM base\n" + lines, {}, {{"base", base}})->stages.back().config;
  };
  CHECK(config_of("").command == std::vector<std::string>{"base"});
  CHECK(config_of("").environment == std::vector<std::string>{"PATH=/bin", "A=1"});
  CHECK(config_of("ENTRYPOINT [\"e\"]\n").command.empty());
  CHECK(config_of("CMD c\nENTRYPOINT [\"e\"]\n").command == std::vector<std::string>{"/bin/sh", "-c", "c"});
  CHECK(config_of("SHELL [\"/bin/bash\", \"-ec\"]\nENTRYPOINT e $A\n").entrypoint ==
        std::vector<std::string>{"/bin/bash", "-ec", "e $A"});
  CHECK(config_of("EXPOSE 80-82/udp 443\n").exposed_ports ==
        std::vector<std::string>{"443/tcp", "80/udp", "81/udp", "82/udp"});
  CHECK(config_of("WORKDIR a\nWORKDIR b\nWORKDIR ../c\n").working_folder == "/a/c");
  CHECK(config_of("LABEL a=$A \"b c\"=d\n").labels == std::map<std::string, std::string>{{"a", "1"}, {"b c", "d"}});
  CHECK(config_of("HEALTHCHECK --interval=5s --retries=3 CMD curl -f x\n").other_config_fields ==
        R"({"Healthcheck":{"Test":["CMD-SHELL","curl -f x"],"Interval":5000000000,"Retries":3}})");
  base.on_build = {"RUN trigger"};
  CHECK(std::holds_alternative<RunStep>(plan_of("FROM base\n", {}, {{"base", base}})->stages.back().steps[0].action));
}

TEST_CASE("what cannot be built says so with its line") {
  struct Row {
    const char* text;
    const char* error;
    const char* hint;
  };
  const Row rows[] = {
      {"RUN x", "Dockerfile:1: there is no build stage yet: 'RUN x'", "start with FROM IMAGE"},
      {"FROM $X", "Dockerfile:1: the image name is empty once its variables are expanded", ""},
      {"FROM a b", "Dockerfile:1: FROM takes an image, or IMAGE AS NAME", ""},
      {"FROM a AS scratch", "Dockerfile:1: the stage name 'scratch' is reserved", ""},
      {"FROM a AS 1x", "Dockerfile:1: '1x' is no name for a stage", ""},
      {"FROM --platform=linux/arm64 a", "Dockerfile:1: platform linux/arm64 cannot be built on linux/amd64", ""},
      {"FROM a\nCOPY x", "Dockerfile:2: COPY needs at least one source and a destination", ""},
      {"FROM a\nCOPY --form=x a b", "Dockerfile:2: COPY has no flag --form", "did you mean --from?"},
      {"FROM a\nCOPY --from=b a b\nFROM a AS b", "", ""},
      {"FROM a\nCOPY --chmod=u+q a b", "Dockerfile:2: --chmod takes an octal mode such as 0755 or a symbolic one", ""},
      {"FROM a\nCOPY --link=maybe a b", "Dockerfile:2: --link is true or false", ""},
      {"FROM a\nADD --checksum=sha256:0 a /", "Dockerfile:2: --checksum goes with exactly one remote source", ""},
      {"FROM a\nRUN --mount=type=cash,target=/x y", "Dockerfile:2: 'cash' is no type of mount", ""},
      {"FROM a\nRUN --mount=type=cache y", "Dockerfile:2: a cache mount needs a target", ""},
      {"FROM a\nRUN --mount=target=/ y", "Dockerfile:2: a mount's target cannot be '/'", ""},
      {"FROM a\nRUN --mount=type=tmpfs,target=/x,syze=1 y", "Dockerfile:2: a tmpfs mount has no field 'syze'",
       "did you mean size?"},
      {"FROM a\nRUN --mont=x y", "Dockerfile:2: RUN has no flag --mont", "did you mean --mount?"},
      {"FROM a\nEXPOSE eighty", "Dockerfile:2: 'eighty' is no port", ""},
      {"FROM a\nSHELL sh", "Dockerfile:2: SHELL takes the JSON form only", ""},
      {"FROM a\nENV A=${B", "Dockerfile:2: the closing '}' of '${B' is missing", ""},
      {"FROM a\nUSER $NOBODY", "Dockerfile:2: USER is empty once its variables are expanded", ""},
      {"FROM a\nENV =x", "Dockerfile:2: ENV needs a name before '='", ""},
  };
  for (const auto& row : rows) {
    if (!*row.error) continue;
    INFO(row.text);
    const auto plan = plan_of(row.text);
    REQUIRE_FALSE(plan);
    CHECK_THAT(plan.error().what(), Catch::StartsWith(row.error));
    if (*row.hint) CHECK(plan.error().hint() == row.hint);
  }
  const auto later = plan_of("FROM a\nCOPY --from=b a b\nFROM a AS b\n", {.target = "0"});
  REQUIRE_FALSE(later);
  CHECK_THAT(later.error().what(), Catch::Contains("the stage 'b' is not built before this one"));
}

TEST_CASE("an unused build argument is a warning") {
  const auto plan = plan_of("FROM scratch\nARG A\n", {.build_args = {{"A", "1"}, {"B", "1"}, {"http_proxy", "x"}}});
  REQUIRE(plan);
  CHECK(plan->warnings == std::vector<std::string>{"build argument B is not used"});
}

TEST_CASE("a step's key changes with everything that matters and with nothing else") {
  const auto key_of = [](const std::string& lines, const std::vector<Digest>& layers = {},
                         const std::string& inputs = "") {
    const auto plan = plan_of("FROM scratch\n" + lines);
    return step_key(plan->stages.back().steps.back(), layers, Digest::of(inputs));
  };
  const auto base = key_of("RUN x\n");
  CHECK(key_of("LABEL a=b\nRUN x\n") == base);
  CHECK(key_of("ENV A=1\nRUN x\n") != base);
  CHECK(key_of("USER a\nRUN x\n") != base);
  CHECK(key_of("RUN y\n") != base);
  CHECK(key_of("RUN --network=none x\n") != base);
  CHECK(key_of("RUN x\n", {Digest::of("l")}) != base);
  CHECK(key_of("COPY a /x\n", {}, "1") != key_of("COPY a /x\n", {}, "2"));
  CHECK(key_of("COPY a /x\n") == key_of("COPY b /x\n"));
  CHECK(key_of("COPY a /x\n") != key_of("COPY --chown=1 a /x\n"));
}

TEST_CASE("heredocs are files for COPY and the script for RUN") {
  const auto plan = plan_of(
      "FROM scratch\nENV N=1\nCOPY <<A <<'B' /d/\n$N\nA\n$N\nB\nRUN <<EOF\necho $N\nEOF\nRUN cat <<X > /y\n1\nX\n");
  if (!plan) FAIL(plan.error().what());
  const auto& steps = plan->stages[0].steps;
  const auto& copy = std::get<CopyStep>(steps[1].action);
  REQUIRE(copy.files.size() == 2);
  CHECK(copy.files[0].content == "1\n");
  CHECK(copy.files[1].content == "$N\n");
  CHECK(std::get<RunStep>(steps[2].action).argv.back() == "echo $N\n");
  CHECK(std::get<RunStep>(steps[3].action).argv.back() == "cat <<X > /y\n1\nX\n");
}

TEST_CASE("COPY selects as BuildKit does") {
  Listing listing;
  using Kind = SourceEntry::Kind;
  listing.entries = {{.kind = Kind::folder, .path = "d"},
                     {.path = "d/a.txt"},
                     {.path = "d/b.log"},
                     {.kind = Kind::symlink, .path = "d/link", .target = "a.txt"},
                     {.kind = Kind::symlink, .path = "loop", .target = "loop"},
                     {.kind = Kind::symlink, .path = "to_d", .target = "/d"},
                     {.path = "x"}};
  const auto names_of = [&](std::vector<std::string> sources, std::vector<std::string> ignored = {}) {
    const auto rules = IgnoreRules::compile(ignored).value();
    const auto visible = without_ignored(listing, rules);
    const auto selection = select(listing, visible, {.sources = std::move(sources), .destination = "/out/"});
    if (!selection) return "error: " + selection.error().message();
    std::string out;
    for (const auto& selected : selection->entries)
      out += selected.name + (selected.entry && selected.entry->kind == Kind::symlink ? "@ " : " ");
    return out;
  };
  CHECK(names_of({""}) == "d d/a.txt d/b.log d/link@ loop@ to_d@ x ");
  CHECK(names_of({"d"}) == "a.txt b.log link@ ");
  CHECK(names_of({"to_d"}) == "a.txt b.log link@ ");
  CHECK(names_of({"d/link"}) == "link ");
  CHECK(names_of({"d/*.txt", "x"}) == "a.txt x ");
  CHECK(names_of({"zz*"}) == "");
  CHECK(names_of({"zz"}) == "error: 'zz' is not in the source");
  CHECK(names_of({"loop"}) == "error: 'loop' is not in the source");
  CHECK(names_of({""}, {"d", "!d/a.txt", "loop", "to_d"}) == "d d/a.txt x ");
  CHECK(names_of({"x"}, {"x"}) == "error: 'x' is not in the source");
  CHECK(names_of({""}, {"*", "!**/*.txt"}) == "d d/a.txt ");  // newer walks than the oracle's
  CHECK(names_of({""}, {"**/d", "!**/a.txt"}) == "loop@ to_d@ x ");
}

TEST_CASE("the mounts of a RUN have BuildKit's defaults") {
  const auto plan = plan_of(
      "FROM scratch AS tools\nFROM scratch\nWORKDIR /w\nENV D=deps\n"
      "RUN --mount=type=cache,target=$D --mount=type=secret,id=key --mount=from=tools,source=/a/../b,dst=/t,rw"
      " --mount=type=tmpfs,target=/tmp,size=64m --mount=type=cache,id=x,target=/c,sharing=locked,uid=5 go\n");
  if (!plan) FAIL(plan.error().what());
  CHECK(plan->stages.size() == 2);  // the mount makes the stage needed
  const auto& mounts = std::get<RunStep>(plan->stages[1].steps.back().action).mounts;
  REQUIRE(mounts.size() == 5);
  CHECK(mounts[0].target == "/w/deps");
  CHECK(mounts[0].id == "/w/deps");
  CHECK(mounts[0].mode == 0755);
  CHECK(mounts[0].writable);
  CHECK(mounts[1].target == "/run/secrets/key");
  CHECK(mounts[1].mode == 0400);
  CHECK_FALSE(mounts[1].required);
  CHECK(mounts[2].source == "b");
  CHECK(mounts[2].writable);
  CHECK(mounts[2].from->kind == TakeFrom::Kind::stage);
  CHECK(mounts[3].bytes_max == 64 << 20);
  CHECK(mounts[4].sharing == Mount::Sharing::locked);
  CHECK(mounts[4].uid == 5);
}

TEST_CASE("--chmod changes a mode as chmod(1) does") {
  const auto apply = [](const char* text, unsigned mode, bool folder = false) {
    return ModeChange::parse(text)->apply(mode, folder);
  };
  CHECK(apply("0640", 0777) == 0640);
  CHECK(apply("4755", 0) == 04755);
  CHECK(apply("u=rwX,go=rX", 0600) == 0644);
  CHECK(apply("u=rwX,go=rX", 0700) == 0755);
  CHECK(apply("u=rwX,go=rX", 0600, true) == 0755);
  CHECK(apply("+x", 0644) == 0755);
  CHECK(apply("go-w", 0666) == 0644);
  CHECK(apply("u+s,+t", 0755) == 05755);
  CHECK_FALSE(ModeChange::parse("0999"));
  CHECK_FALSE(ModeChange::parse("u"));
  CHECK_FALSE(ModeChange::parse(""));
}

TEST_CASE("a script that begins with #! is a file of its own") {
  const auto plan = plan_of("FROM scratch\nRUN <<EOF\n#!/usr/bin/env python3\nprint(1)\nEOF\n");
  if (!plan) FAIL(plan.error().what());
  const auto& run = std::get<RunStep>(plan->stages[0].steps[0].action);
  CHECK(run.argv == std::vector<std::string>{"/dev/pipes/EOF"});
  CHECK(run.script == "#!/usr/bin/env python3\nprint(1)\n");
}

}  // namespace wick::build

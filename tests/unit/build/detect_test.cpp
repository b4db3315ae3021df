#include "build/detect.hpp"

#include <catch2/catch.hpp>
#include <cstdlib>
#include <map>

#include "build/plan.hpp"
#include "wick/os/files.hpp"

namespace wick::build {
namespace {

const std::filesystem::path projects = WICK_SOURCE_ROOT "/tests/data/build";

const std::vector<Recipe>& shipped() {
  static const auto recipes = [] {
    auto files = read_builders(WICK_SOURCE_ROOT "/builders").value();
    for (const auto& [name, text] : read_builders(WICK_SOURCE_ROOT "/runtime/function").value())
      files[name] = "what is in " + name + "\n";  // the plans do not change with it
    auto parsed = parse_recipes(files);
    if (!parsed) FAIL(parsed.error().what());
    return std::move(*parsed);
  }();
  return recipes;
}

Result<Detected> detect_in(const std::filesystem::path& folder, std::string_view wanted = {},
                           BaseChoice bases = BaseChoice::automatic) {
  const auto tree = SourceTree::open(folder);
  if (!tree) return fail(tree.error());
  const Project project{.listing = tree->listing(), .read = [&](const std::string& path) -> std::optional<std::string> {
                          auto text = tree->read(path, 1 << 20);
                          if (!text) return std::nullopt;
                          return *text;
                        }};
  return detect(shipped(), project, wanted, bases);
}

/// A project as texts: path → content.
Result<Detected> detect_of(const std::vector<Recipe>& recipes, const std::map<std::string, std::string>& files,
                           BaseChoice bases = BaseChoice::automatic) {
  Listing listing;
  for (const auto& [path, text] : files) listing.entries.push_back({.path = path});
  const Project project{.listing = listing, .read = [&](const std::string& path) -> std::optional<std::string> {
                          const auto found = files.find(path);
                          if (found == files.end()) return std::nullopt;
                          return found->second;
                        }};
  return detect(recipes, project, {}, bases);
}

std::vector<Recipe> recipes_of(const std::string& yaml) {
  auto recipes = parse_recipes({{"x.yaml", yaml}});
  if (!recipes) FAIL(recipes.error().what());
  return std::move(*recipes);
}

/// The one line that a builder of `values` writes for a project, "RUN …" left out.
std::string written(const std::string& values, const std::string& line, const std::map<std::string, std::string>& files,
                    BaseChoice bases = BaseChoice::automatic) {
  const auto recipes = recipes_of("name: x\ntitle: X\ndetect: {any: ['*', '**/*']}\nvalues:\n" + values +
                                  "dockerfile: ['" + line + "']\n");
  auto detected = detect_of(recipes, files, bases);
  return detected ? detected->dockerfile.substr(0, detected->dockerfile.size() - 1)
                  : "error " + detected.error().what();
}

/// What a person would want to see of a detection: title, reasons, warnings, and the plan it compiles to.
std::string outcome(const std::filesystem::path& folder) {
  const auto detected = detect_in(folder);
  if (!detected) return "error " + detected.error().what() + "\nhint " + detected.error().hint() + "\n";
  std::string out = detected->title + "\n";
  for (const auto& reason : detected->reasons)
    out +=
        "because " + reason.name + ": " + reason.value + (reason.from.empty() ? "" : "  (" + reason.from + ")") + "\n";
  for (const auto& warning : detected->warnings) out += "warning " + warning + "\n";
  const auto file = parse_dockerfile(detected->dockerfile, "builder " + detected->name);
  if (!file) return out + "error " + file.error().what() + "\n" + detected->dockerfile;
  const auto outlined = outline(*file, {});
  if (!outlined) return out + "error " + outlined.error().what() + "\n";
  std::map<std::string, image::ImageConfig> images;
  for (const auto& name : outlined->images) images[name] = {};
  const auto plan = make_plan(*file, *outlined, {}, images);
  if (!plan) return out + "error " + plan.error().what() + "\n" + detected->dockerfile;
  return out + to_text(*plan);
}

}  // namespace

TEST_CASE("every project under tests/data/build compiles to its golden plan") {
  // WICK_WRITE_GOLDEN=1 writes them anew; read the difference before committing it.
  std::size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(projects)) {
    if (!entry.is_directory()) continue;
    INFO(entry.path().filename());
    const auto golden = entry.path().string() + ".plan";
    const auto now = outcome(entry.path());
    if (std::getenv("WICK_WRITE_GOLDEN")) (void)write_file(golden, now);
    const auto expected = read_file(golden);
    CHECK(now == (expected ? *expected : "no " + golden));
    ++count;
  }
  CHECK(count >= 60);
}

TEST_CASE("a builder can be named, and a wrong name is corrected") {
  const auto named = detect_in(projects / "two-languages", "python");
  if (!named) FAIL(named.error().what());
  CHECK(named->name == "python");
  const auto wrong = detect_in(projects / "two-languages", "pyhton");
  REQUIRE_FALSE(wrong);
  CHECK(wrong.error().hint() == "did you mean python?");
}

TEST_CASE("a builder file that is wrong says where") {
  const auto recipe =
      parse_recipe("name: x\ntitle: X\ndetect:\n  any: [a]\n  non: [b]\ndockerfile: [FROM scratch]\n", "x.yaml");
  REQUIRE_FALSE(recipe);
  CHECK(recipe.error().what() == "x.yaml:5: unknown key 'non'");
  CHECK_FALSE(parse_recipe("- a", "x.yaml"));
  CHECK_FALSE(parse_recipe("name: [", "x.yaml"));
  CHECK_FALSE(parse_recipe("", "x.yaml"));
  const auto said = [](std::string values) {
    auto parsed = parse_recipe(
        "name: x\ntitle: X\ndetect: {any: [a]}\nvalues:\n  v:\n  - " + values + "\ndockerfile: [FROM scratch]\n",
        "x.yaml");
    return parsed ? std::string() : parsed.error().what();
  };
  CHECK(said("{value: w}") == "x.yaml:6: there is no value 'w' before this");
  CHECK(said("{file: a, when: w}") == "x.yaml:6: there is no value 'w' before this");
  CHECK(said("{json: a}") == "x.yaml:6: 'json' needs 'at'");
  CHECK(said("{json: a, at: b, toml: c}") ==
        "x.yaml:6: a source has one kind: file, json, toml, yaml, text, procfile, value or range");
  CHECK(said("{text: a, matching: '('}").starts_with("x.yaml:6: '(' is no regular expression"));
  CHECK(said("{text: a, matching: b, containing: c}") ==
        "x.yaml:6: 'containing' and 'lacking' go with 'file'; elsewhere it is 'matching'");
  CHECK(said("{file: a, each: b}") == "x.yaml:6: 'each' needs 'matching'");
  CHECK(said("{unless: only_debian}") == "x.yaml:6: a source needs a kind or 'write'");
}

TEST_CASE("a value comes from JSON, TOML and YAML by its path") {
  const std::map<std::string, std::string> files{
      {"a.json", R"({"engines": {"node": ">=18"}, "list": ["x-1", "y-2", "x-3"], "none": {}, "yes": true})"},
      {"a.toml",
       "[tool.poetry]\nname = 'shop'\n[[bin]]\nname = 'one'\n[[bin]]\nname = 'two'\n[d]\nwhen = 2024-01-02\n"},
      {"a.yaml", "runtime: node\nenvs:\n- name: A\n"}};
  const auto value = [&](const std::string& source) { return written("  v: [" + source + "]\n", "{v}", files); };
  CHECK(value("{json: a.json, at: engines.node}") == ">=18");
  CHECK(value("{json: a.json, at: list}") == "yes");
  CHECK(value("{json: a.json, at: none}") == "");
  CHECK(value("{json: a.json, at: \"yes\"}") == "yes");
  CHECK(value("{json: a.json, at: list.1}") == "y-2");
  CHECK(value("{json: a.json, at: list.9}") == "");
  CHECK(value("{json: a.json, at: engines.node.deeper}") == "");
  CHECK(value("{json: a.json, at: list, matching: \"^x-(.)\"}") == "1");
  CHECK(value("{json: a.json, at: list, matching: \"^x-(.)\", each: \"<{}>\"}") == "<1><3>");
  CHECK(value("{json: a.json, at: \"\", matching: \"^e(.*)\"}") == "ngines");
  CHECK(value("{toml: a.toml, at: bin.1.name}") == "two");
  CHECK(value("{toml: a.toml, at: tool.poetry.name}") == "shop");
  CHECK(value("{toml: a.toml, at: d.when}") == "2024-01-02");
  CHECK(value("{yaml: a.yaml, at: runtime}") == "node");
  CHECK(value("{yaml: a.yaml, at: envs.0.name}") == "A");
  CHECK(value("{json: missing.json, at: a}, {write: else}") == "else");
}

TEST_CASE("a file of a project that cannot be read is named with its line") {
  const auto value = [](const std::string& source, const std::string& text) {
    return written("  v: [" + source + "]\n", "{v}", {{"f", text}});
  };
  CHECK(value("{json: f, at: a}", "{").starts_with("error f is no JSON"));
  CHECK(value("{toml: f, at: a}", "a = 1\nb =\n").starts_with("error f:2: "));
  CHECK(value("{yaml: f, at: a}", "a: [").starts_with("error f: "));
  std::string deep;
  for (int i = 0; i < 5000; ++i) deep += "[";
  CHECK(value("{json: f, at: a}", deep).starts_with("error "));
  CHECK(value("{toml: f, at: a}", "a = " + deep).starts_with("error "));
  CHECK(value("{yaml: f, at: a}", deep).starts_with("error "));
}

TEST_CASE("a file is found by its name and by what is in it") {
  const std::map<std::string, std::string> files{{"cmd/a/main.go", "package lib\n"},
                                                 {"cmd/b/main.go", "package main\n"},
                                                 {"x.py", "def f():\n    def g(): pass\n"}};
  const auto value = [&](const std::string& source) { return written("  v: [" + source + "]\n", "{v}", files); };
  CHECK(value("{file: \"cmd/*/main.go\"}") == "cmd/a/main.go");
  CHECK(value("{file: \"**/main.go\", containing: \"^package main\"}") == "cmd/b/main.go");
  CHECK(value("{file: \"**/main.go\", lacking: \"main\", write: \"{|folder} {|stem}\"}") == "cmd/a main");
  CHECK(value("{file: ./x.py, containing: \"^def g\"}") == "");
  CHECK(value("{file: x.py, write: \"{|folder}\"}") == ".");
}

TEST_CASE("a command runs without a shell where none is needed") {
  const auto command = [](const std::string& text) {
    return written("  v: [{procfile: web}]\n", "{v|command}", {{"Procfile", "web: " + text + "\nworker: x\n"}});
  };
  CHECK(command("node server.js --port=80") == R"(["node","server.js","--port=80"])");
  CHECK(command("node  a") == R"(["node","a"])");
  CHECK(command("gunicorn x --bind 0.0.0.0:$PORT") == R"(["/bin/sh","-c","gunicorn x --bind 0.0.0.0:$PORT"])");
  CHECK(command("A=1 node x") == R"(["/bin/sh","-c","A=1 node x"])");
  CHECK(command("cd a && node x") == R"(["/bin/sh","-c","cd a && node x"])");
  CHECK(command("echo 'a b'") == R"(["/bin/sh","-c","echo 'a b'"])");
}

TEST_CASE("what a version range allows decides between Debian and a registry") {
  const std::string values =
      "  wanted: [{text: f, matching: \"(.*)\"}]\n  does: [{range: wanted, allows: 18.20.4}]\n"
      "  v: [{write: registry, when: only_registry}, {write: debian, when: does}, {write: debian, when: only_debian}, "
      "{write: registry}]\n";
  CHECK(written(values, "{v}", {{"f", ">=16"}}) == "debian");
  CHECK(written(values, "{v}", {{"f", ">=20"}}) == "registry");
  CHECK(written(values, "{v}", {{"f", "lts/iron"}}) == "debian");
  CHECK(written(values, "{v}", {{"f", ">=20"}}, BaseChoice::debian) == "debian");
  CHECK(written(values, "{v}", {{"f", ">=16"}}, BaseChoice::registry) == "registry");
  const auto node = detect_in(projects / "node-too-new", {}, BaseChoice::debian);
  REQUIRE(node);
  CHECK(node->dockerfile.starts_with("FROM debian:bookworm AS base\n"));
  CHECK(node->warnings == std::vector<std::string>{
                              "Node.js >=20 is asked for, and Debian 12 has 18 (wick serve --bases says where from)"});
  const auto plain = detect_in(projects / "python-plain", {}, BaseChoice::registry);
  REQUIRE(plain);
  CHECK(plain->dockerfile.starts_with("FROM python:3-slim AS base\n"));
}

TEST_CASE("a builder of one's own may embed a file, and says so when it is not there") {
  const std::string yaml =
      "name: x\ntitle: X\ndetect: {any: [a]}\ndockerfile: [FROM scratch, {embed: b.txt, to: /b.txt}]\n";
  auto recipes = parse_recipes({{"x.yaml", yaml}, {"b.txt", "one $TWO\n"}});
  REQUIRE(recipes);
  const auto detected = detect_of(*recipes, {{"a", ""}});
  REQUIRE(detected);
  CHECK(detected->dockerfile == "FROM scratch\nCOPY <<'END_OF_FILE' /b.txt\none $TWO\nEND_OF_FILE\n");
  const auto missing = detect_of(recipes_of(yaml), {{"a", ""}});
  REQUIRE_FALSE(missing);
  CHECK(missing.error().what() == "builder x: there is no file b.txt beside it");
}

TEST_CASE("a step is named by what it does, without its mounts and what it does for itself") {
  const auto recipes = recipes_of(
      "name: x\ntitle: X\ndetect: {any: [a]}\nvalues:\n  cache: [{write: '--mount=type=cache,target=/c'}]\n"
      "  trust: [{write: 'trap true EXIT;'}]\nasides: [trust]\ndockerfile:\n- FROM scratch\n"
      "- 'RUN {cache} {trust} make all'\n- RUN make test\n");
  const auto detected = detect_of(recipes, {{"a", ""}});
  REQUIRE(detected);
  CHECK(detected->dockerfile ==
        "FROM scratch\n# make all\nRUN --mount=type=cache,target=/c trap true EXIT; make all\nRUN make test\n");
  const auto parsed = parse_dockerfile(detected->dockerfile).value();
  CHECK(parsed.instructions.at(1).comment == "make all");
  CHECK(parsed.instructions.at(2).comment.empty());
}

TEST_CASE("the plan is explained as a Dockerfile with its reasons") {
  const auto detected = detect_in(projects / "node-yarn-classic");
  REQUIRE(detected);
  const auto text = explain(*detected);
  CHECK(text.starts_with("# Node.js (package.json)\n#   base: debian:bookworm\n"));
  CHECK(text.contains("#   install: yarn install --frozen-lockfile --non-interactive --production  (yarn.lock)\n"));
  CHECK(text.contains("#   start: node index.js  (scripts.start in package.json)\n"));
  CHECK(text.contains("# not copied, besides what .dockerignore names: node_modules, "));
  CHECK(parse_dockerfile(text, "Dockerfile"));
}

}  // namespace wick::build

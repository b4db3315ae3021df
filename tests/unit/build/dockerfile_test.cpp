#include "build/dockerfile.hpp"

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <catch2/catch.hpp>
#include <filesystem>
#include <map>

#include "build/patterns.hpp"
#include "build/plan.hpp"
#include "build/words.hpp"
#include "shared_data.hpp"
#include "wick/base/text.hpp"

namespace wick::build {
namespace {

Lookup lookup_in(std::map<std::string, std::string> values) {
  return [values = std::move(values)](std::string_view name) -> std::optional<std::string> {
    const auto found = values.find(std::string(name));
    if (found == values.end()) return std::nullopt;
    return found->second;
  };
}

std::map<std::string, std::string> environment_of(const boost::json::value& env) {
  std::map<std::string, std::string> out;
  for (const auto& [key, value] : env.as_object()) out[std::string(key)] = value.as_string();
  return out;
}

}  // namespace

TEST_CASE("BuildKit's parser results are ours") {
  const auto folder = shared_data("testdata/dockerfile/buildkit-parser/testfiles");
  if (!folder) return;
  for (const auto& entry : std::filesystem::directory_iterator(*folder)) {
    INFO(entry.path().filename());
    const auto parsed = parse_dockerfile(text_of(entry.path() / "Dockerfile"));
    if (!parsed) FAIL(parsed.error().what());
    CHECK(to_s_expressions(*parsed) == text_of(entry.path() / "result"));
  }
}

TEST_CASE("BuildKit's heredocs are ours") {
  const auto folder = shared_data("testdata/dockerfile/buildkit-parser");
  if (!folder) return;
  const auto parsed = parse_dockerfile(text_of(*folder / "heredoc.Dockerfile"));
  if (!parsed) FAIL(parsed.error().what());
  const auto expected = boost::json::parse(text_of(*folder / "heredoc.expected.json")).at("heredocs").as_array();
  REQUIRE(parsed->instructions.size() == expected.size() + 1);
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const auto& instruction = parsed->instructions[i + 1];
    INFO(instruction.text);
    REQUIRE(instruction.heredocs.size() == expected[i].as_array().size());
    for (std::size_t j = 0; j < instruction.heredocs.size(); ++j) {
      const auto& want = expected[i].as_array()[j];
      const auto& have = instruction.heredocs[j];
      CHECK(have.name == want.at("name").as_string());
      CHECK(have.fd == want.at("fd").as_int64());
      CHECK(have.expand == want.at("expand").as_bool());
      CHECK(have.strip_tabs == want.at("chomp").as_bool());
      CHECK(have.content == want.at("content").as_string());
    }
  }
}

TEST_CASE("words expand as BuildKit's vectors say") {
  const auto file = shared_data("testdata/dockerfile/buildkit-shell/envVarTest");
  if (!file) return;
  const auto lookup = lookup_in({{"PWD", "/home"}, {"SHELL", "bash"}, {"KOREAN", "한국어"}, {"NULL", ""}});
  const auto text = text_of(*file);
  int rows = 0;
  for (auto line : split(text, '\n')) {
    if (trim(line).empty() || line.starts_with('#') || line.starts_with('W')) continue;
    const auto fields = split(line, '|');
    REQUIRE(fields.size() == 3);
    INFO(line);
    const auto expanded = expand_word(trim(fields[1]), lookup);
    CHECK((expanded ? *expanded : "error") == std::string(trim(fields[2])));
    ++rows;
  }
  CHECK(rows > 100);
}

TEST_CASE("words split as BuildKit's vectors say") {
  const auto file = shared_data("testdata/dockerfile/buildkit-shell/wordsTest");
  if (!file) return;
  std::map<std::string, std::string> values;
  const auto text = text_of(*file);
  for (auto line : split(text, '\n')) {
    if (trim(line).empty() || line.starts_with('#')) continue;
    INFO(line);
    if (line.starts_with("ENV ")) {
      line.remove_prefix(4);
      const auto equals = line.find('=');
      values[std::string(trim(line.substr(0, equals)))] = std::string(line.substr(equals + 1));
      continue;
    }
    const auto bar = line.rfind('|');
    const auto words = expand_words(trim(line.substr(0, bar)), lookup_in(values));
    std::string joined;
    if (words)
      for (const auto& word : *words) joined += (joined.empty() ? "" : ",") + word;
    const auto expected = line.substr(bar + 1);
    CHECK((words ? std::string(trim(joined)) : "error") == std::string(trim(expected)));
  }
}

TEST_CASE("substitutions ask for the variables that BuildKit's vectors name") {
  const auto file = shared_data("testdata/dockerfile/buildkit-shell/process-with-matches.json");
  if (!file) return;
  const auto rows = boost::json::parse(text_of(*file));
  for (const auto& row : rows.as_array()) {
    const std::string input(row.at("input").as_string());
    INFO(input);
    const auto expanded = expand_word(input, lookup_in(environment_of(row.at("env"))));
    if (row.as_object().contains("error")) {
      CHECK_FALSE(expanded);
    } else {
      CHECK((expanded ? *expanded : expanded.error().what()) == std::string(row.at("expected").as_string()));
    }
  }
}

TEST_CASE(".dockerignore matches as patternmatcher's vectors say") {
  const auto folder = shared_data("testdata/dockerfile/patternmatcher");
  if (!folder) return;
  const auto rows = boost::json::parse(text_of(*folder / "cases.json"));
  for (const auto& row : rows.as_array()) {
    std::vector<std::string> patterns;
    for (const auto& pattern : row.at("patterns").as_array()) patterns.emplace_back(pattern.as_string());
    INFO(boost::json::serialize(row));
    const auto rules = IgnoreRules::compile(patterns);
    if (row.as_object().contains("error")) {
      CHECK_FALSE(rules);
      continue;
    }
    if (!rules) FAIL(rules.error().what());
    CHECK(rules->ignores(std::string(row.at("path").as_string())) == row.at("match").as_bool());
  }
  std::vector<std::string> expected;
  const auto names = boost::json::parse(text_of(*folder / "ignorefile.expected.json"));
  for (const auto& name : names.as_array()) expected.emplace_back(name.as_string());
  CHECK(read_ignore_file(text_of(*folder / "ignorefile.txt")) == expected);
}

TEST_CASE("an error names file, line, text and the nearest word") {
  const auto parsed = parse_dockerfile("FROM scratch\n\n# why\nCPOY a b\n", "app/Dockerfile");
  REQUIRE(parsed);
  const auto outlined = outline(*parsed, {});
  REQUIRE_FALSE(outlined);
  CHECK(outlined.error().what() == "app/Dockerfile:4: unknown instruction 'CPOY': 'CPOY a b'");
  CHECK(outlined.error().hint() == "did you mean COPY?");
}

TEST_CASE("an error shows its line with a caret under the word") {
  const std::string text = "FROM scratch\n  CPOY a b\nCOPY --form=x a b\nENV =x\n";
  CHECK(excerpt(text, "Dockerfile", "Dockerfile:2: unknown instruction 'CPOY': 'CPOY a b'") ==
        std::vector<std::string>{"2 |   CPOY a b", "  |   ^~~~"});
  CHECK(excerpt(text, "a/b", "a/b:3: COPY has no flag --form: 'COPY --form=x a b'") ==
        std::vector<std::string>{"3 | COPY --form=x a b", "  | ^~~~"});
  CHECK(excerpt(text, "Dockerfile", "Dockerfile:4: ENV needs a name before '=': 'ENV =x'") ==
        std::vector<std::string>{"4 | ENV =x", "  |     ^"});
  CHECK(excerpt(text, "Dockerfile", "the image is not here").empty());
  CHECK(excerpt(text, "Dockerfile", "Dockerfile:99: no").empty());
}

TEST_CASE("what is no Dockerfile is refused with its reason") {
  struct Row {
    const char* text;
    const char* reason;
  };
  const Row rows[] = {
      {"", "Dockerfile: the file has no instructions"},
      {"# only a comment\n", "Dockerfile: the file has no instructions"},
      {"CMD [ \"echo\", [ \"nested\" ] ]", "Dockerfile:1: the JSON form takes an array of strings and nothing else"},
      {"FROM a\nENV PATH\n", "Dockerfile:2: a value is missing: write NAME=VALUE: 'ENV PATH'"},
      {"FROM a\nENV a=1 b\n", "Dockerfile:2: 'b' has no '='"},
      {"FROM a\nRUN <<EOF\nls\n", "Dockerfile:2: the heredoc 'EOF' has no end"},
      {"# escape=x\nFROM a", "Dockerfile:1: the escape character is"},
      {"# escape=`\n# escape=`\nFROM a", "Dockerfile:2: the directive 'escape' is there twice"},
      {"FROM a\nONBUILD FROM b", "Dockerfile:2: from is not allowed in ONBUILD"},
  };
  for (const auto& row : rows) {
    INFO(row.text);
    const auto parsed = parse_dockerfile(row.text);
    REQUIRE_FALSE(parsed);
    CHECK_THAT(parsed.error().what(), Catch::StartsWith(row.reason));
  }
}

TEST_CASE("the nearest word is near") {
  CHECK(nearest_word("RUUN", {"run", "copy"}) == "run");
  CHECK(nearest_word("entrypiont", {"entrypoint", "env"}) == "entrypoint");
  CHECK(nearest_word("banana", {"run", "copy", "env"}).empty());
}

TEST_CASE("paths are cleaned and stay below their root") {
  CHECK(clean_path("a//b/../c/") == "a/c");
  CHECK(clean_path("") == ".");
  CHECK(clean_path("../a") == "../a");
  CHECK(rooted_path("../../etc/passwd") == "etc/passwd");
  CHECK(rooted_path("/") == "");
  CHECK(join_path("/a", "b/../c") == "/a/c");
  CHECK(join_path("/a", "/b/") == "/b");
}

}  // namespace wick::build

#include "build/detect.hpp"

#include <catch2/catch.hpp>
#include <cstdlib>

#include "build/plan.hpp"
#include "wick/os/files.hpp"

namespace wick::build {
namespace {

const std::filesystem::path projects = WICK_SOURCE_ROOT "/tests/data/build";

Result<Detected> detect_in(const std::filesystem::path& folder, std::string_view wanted = {}) {
  static const auto recipes = load_recipes(WICK_SOURCE_ROOT "/builders").value();
  const auto tree = SourceTree::open(folder);
  if (!tree) return fail(tree.error());
  const Project project{.listing = tree->listing(), .read = [&](const std::string& path) -> std::optional<std::string> {
                          auto text = tree->read(path, 1 << 20);
                          if (!text) return std::nullopt;
                          return *text;
                        }};
  return detect(recipes, project, wanted);
}

/// What a person would want to see of a detection: title, warnings, and the plan it compiles to.
std::string outcome(const std::filesystem::path& folder) {
  const auto detected = detect_in(folder);
  if (!detected) return "error " + detected.error().what() + "\nhint " + detected.error().hint() + "\n";
  std::string out = detected->title + "\n";
  for (const auto& warning : detected->warnings) out += "warning " + warning + "\n";
  const auto file = parse_dockerfile(detected->dockerfile, "builder " + detected->name);
  if (!file) return out + "error " + file.error().what() + "\n" + detected->dockerfile;
  const auto outlined = outline(*file, {});
  if (!outlined) return out + "error " + outlined.error().what() + "\n";
  const auto plan = make_plan(*file, *outlined, {}, {{"debian:bookworm", {}}});
  if (!plan) return out + "error " + plan.error().what() + "\n";
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
  CHECK(count >= 12);
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
}

}  // namespace wick::build

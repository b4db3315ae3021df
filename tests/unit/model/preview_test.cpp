#include "wick/model/preview.hpp"

#include <catch2/catch.hpp>

#include "wick/model/metadata.hpp"

using namespace wick;
using namespace wick::model;

TEST_CASE("a branch gives a tag that is a DNS label, also with the service before it") {
  CHECK(preview_tag("feature/Moon", "hello", false) == "feature-moon");
  CHECK(preview_tag("fix__a..b--c/", "hello", false) == "fix-a-b-c");
  CHECK(preview_tag("9-lives", "hello", false) == "b-9-lives");
  CHECK(preview_tag("été", "hello", false) == "t");
  CHECK(preview_tag("***", "hello", false) == "branch");
  CHECK(preview_tag("feature/x", "hello", true).starts_with("feature-x-"));
  CHECK(preview_tag("feature/x", "hello", true) != preview_tag("feature-x", "hello", true));
  CHECK(preview_tag("main", std::string(41, 'a'), false).empty());
  for (std::size_t size = 1; size <= 40; ++size)
    for (const auto& branch :
         {std::string(1, 'x'), std::string(250, 'x'), std::string(30, '/') + "x", std::string(60, '7')})
      for (const bool told_apart : {false, true}) {
        const std::string service(size, 's');
        const auto tag = preview_tag(branch, service, told_apart);
        INFO(size << " " << branch);
        CHECK(dns1035_complaint(tag).empty());
        CHECK((tag + "-" + service).size() <= 63);
        CHECK((preview_configuration(service, tag) + "-00001").size() <= 63);
      }
  CHECK(preview_tag(std::string(60, 'x') + "1", "hello", false) !=
        preview_tag(std::string(60, 'x') + "2", "hello", false));
}

TEST_CASE("patterns name the branches that become previews") {
  CHECK(is_previewed("*", "feature/x"));
  CHECK(is_previewed("fix-?, feature/*", "feature/a/b"));
  CHECK(is_previewed("fix-?", "fix-1"));
  CHECK_FALSE(is_previewed("fix-?", "fix-12"));
  CHECK_FALSE(is_previewed("feature/*", "feature"));
  CHECK(is_previewed("*a*b*", "xaxbx"));
  CHECK_FALSE(is_previewed("*a*b*c", "xaxbx"));
  CHECK_FALSE(is_previewed("", "main"));
  CHECK_FALSE(is_previewed(" , ,", "main"));
  CHECK_FALSE(is_previewed(std::string(60, '*') + "z", std::string(250, 'a')));
}

TEST_CASE("the order of a preview is read as it was written, and refused with what was expected") {
  const PreviewOrder order{.service = "hello", .branch = "feature/\"x", .env = {"A=1=2", "B-"}};
  const auto read = parse_preview_order(to_text(order));
  REQUIRE(read);
  CHECK(read->service == order.service);
  CHECK(read->branch == order.branch);
  CHECK(read->env == order.env);
  for (const auto* bad :
       {"", "[]", "{}", R"({"service":"Hello","branch":"x"})", R"({"service":"hello","branch":""})",
        R"({"service":"hello","branch":"x","env":"A=1"})", R"({"service":"hello","branch":"x","env":["A"]})",
        R"({"service":"hello","branch":"x","env":[7]})", R"({"service":"hello","branch":"x","env":["1A=2"]})"})
    CHECK_FALSE(parse_preview_order(bad).has_value());
}

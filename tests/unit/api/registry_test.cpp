#include <fmt/format.h>
#include <catch2/catch.hpp>

#include "api/tokens.hpp"
#include "api_parts.hpp"
#include "memory_exchange.hpp"
#include "wick/base/text.hpp"
#include "wick/image/registry_store.hpp"

using namespace wick;
using image::BlobDigest;
using image::HashAlgorithm;

namespace {

const std::string manifest_type(image::media_type_manifest);

std::string digest_of(std::string_view bytes) { return BlobDigest::of(HashAlgorithm::sha256, bytes).text(); }

struct RegistryApi : ApiParts {
  std::unique_ptr<image::RegistryStore> registry =
      image::RegistryStore::open(folder.path() / "registry", images).value();
  std::optional<http::Handler> handler;

  RegistryApi() {
    start();
    api_images.registry = registry.get();
  }

  void serve() {
    auto all = doors();
    all.registry = registry.get();
    handler = api::make_api(std::move(all)).value();
  }
  std::unique_ptr<MemoryExchange> call(std::string method, std::string target, std::string body = {},
                                       http::Fields fields = {}, long uid = 0) {
    if (!handler) serve();
    fields.set("Content-Length", std::to_string(body.size()));
    auto exchange = std::make_unique<MemoryExchange>(loop.get_executor(), std::move(method), std::move(target),
                                                     std::move(body), std::move(fields));
    exchange->uid = uid;
    run_on(loop, (*handler)(*exchange));
    return exchange;
  }
  static std::string field(const MemoryExchange& exchange, std::string_view name) {
    return std::string(exchange.answer->fields.find(name).value_or("(none)"));
  }
  static std::string code(const MemoryExchange& exchange) {
    return std::string(std::string_view(exchange.json().at("errors").at(0).at("code").as_string()));
  }
  std::string begin(std::string_view repository = "team/hello") {
    const auto begun = call("POST", fmt::format("/v2/{}/blobs/uploads/", repository));
    REQUIRE(begun->status() == 202);
    CHECK(field(*begun, "Range") == "0-0");
    return field(*begun, "Location");
  }
  void push(std::string_view bytes, std::string_view repository = "team/hello") {
    const auto pushed =
        call("POST", fmt::format("/v2/{}/blobs/uploads/?digest={}", repository, digest_of(bytes)), std::string(bytes));
    REQUIRE(pushed->status() == 201);
  }
  std::string manifest(std::string_view config = "{}", std::string_view more = "") {
    push(config);
    return fmt::format(
        R"({{"schemaVersion":2,"mediaType":"{}","config":{{"mediaType":"{}","digest":"{}","size":{}}},"layers":[]{}}})",
        manifest_type, image::media_type_config, digest_of(config), config.size(), more);
  }
  std::unique_ptr<MemoryExchange> put(std::string_view reference, std::string text) {
    return call("PUT", fmt::format("/v2/team/hello/manifests/{}", reference), std::move(text),
                {{"Content-Type", manifest_type}});
  }
};

}  // namespace

TEST_CASE("a registry says that it is one, to who has a token as its password") {
  RegistryApi f;
  const auto secret = f.token(api::Scope::read);
  const auto deployer = f.token(api::Scope::deploy);
  const auto limited = f.token(api::Scope::deploy, "team");
  CHECK(f.call("GET", "/v2/")->status() == 200);
  const auto nobody = f.call("GET", "/v2/", {}, {}, -1);
  CHECK(nobody->status() == 401);
  CHECK(f.field(*nobody, "WWW-Authenticate") == "Basic realm=\"wick\"");
  CHECK(f.field(*nobody, "Docker-Distribution-API-Version") == "registry/2.0");
  CHECK(f.code(*nobody) == "UNAUTHORIZED");
  const auto as = [&](const std::string& password, std::string method, std::string target) {
    return f.call(std::move(method), std::move(target), {},
                  {{"Authorization", "Basic " + base64_encode("anyone:" + password)}}, -1);
  };
  CHECK(as("wrong", "GET", "/v2/")->status() == 401);
  CHECK(as(secret, "GET", "/v2/")->status() == 200);
  CHECK(as(secret, "GET", "/v2/team/hello/tags/list")->status() == 404);
  for (const auto* method : {"POST", "PUT", "PATCH", "DELETE"}) {
    const auto refused = as(secret, method, "/v2/team/hello/blobs/uploads/");
    CHECK(refused->status() == 403);
    CHECK(f.code(*refused) == "DENIED");
  }
  CHECK(as(deployer, "POST", "/v2/team/hello/blobs/uploads/")->status() == 202);
  CHECK(as(limited, "GET", "/v2/")->status() == 403);
}

TEST_CASE("a blob is pushed in one request, in two, or in chunks") {
  RegistryApi f;
  f.push("one");
  CHECK(f.call("GET", "/v2/team/hello/blobs/" + digest_of("one"))->text == "one");

  const auto two = f.begin();
  const auto put = f.call("PUT", two + "?digest=" + digest_of("two"), "two");
  REQUIRE(put->status() == 201);
  CHECK(f.field(*put, "Docker-Content-Digest") == digest_of("two"));
  CHECK(f.call("GET", f.field(*put, "Location"))->text == "two");

  const auto upload = f.begin();
  const auto first = f.call("PATCH", upload, "first", {{"Content-Range", "0-4"}});
  REQUIRE(first->status() == 202);
  CHECK(f.field(*first, "Range") == "0-4");
  const auto early = f.call("PATCH", f.field(*first, "Location"), "third", {{"Content-Range", "10-14"}});
  CHECK(early->status() == 416);
  CHECK(f.code(*early) == "BLOB_UPLOAD_INVALID");
  CHECK(f.field(*early, "Range") == "0-4");
  for (const auto* wrong : {"x", "bytes 5-9", "9-5"})
    CHECK(f.call("PATCH", upload, "third", {{"Content-Range", wrong}})->status() == 416);
  const auto short_chunk = f.call("PATCH", upload, "abc", {{"Content-Range", "5-9"}});
  CHECK(short_chunk->status() == 400);
  CHECK(f.code(*short_chunk) == "SIZE_INVALID");
  const auto status = f.call("GET", upload);
  CHECK(status->status() == 204);
  CHECK(f.field(*status, "Range") == "0-4");
  CHECK(f.field(*status, "Location") == upload);
  // The last chunk comes with the digest.
  const auto last =
      f.call("PUT", upload + "?digest=" + digest_of("firstsecond"), "second", {{"Content-Range", "5-10"}});
  CHECK(last->status() == 201);
  CHECK(f.call("GET", upload)->status() == 404);
  CHECK(f.call("GET", "/v2/team/hello/blobs/" + digest_of("firstsecond"))->text == "firstsecond");
}

TEST_CASE("an upload that is cut stays as far as it came, one that is wrong goes") {
  RegistryApi f;
  const auto upload = f.begin();
  MemoryExchange cut(f.loop.get_executor(), "PATCH", upload, "0123456789", {});
  cut.fail_after = 6;
  run_on(f.loop, (*f.handler)(cut));
  CHECK(f.field(*f.call("GET", upload), "Range") == "0-5");
  CHECK(f.call("PATCH", upload, "6789", {{"Content-Range", "6-9"}})->status() == 202);
  const auto wrong = f.call("PUT", upload + "?digest=" + digest_of("x"));
  CHECK(wrong->status() == 400);
  CHECK(f.code(*wrong) == "DIGEST_INVALID");
  CHECK(f.code(*f.call("GET", upload)) == "BLOB_UPLOAD_UNKNOWN");
  CHECK(f.code(*f.call("PUT", upload)) == "DIGEST_INVALID");
  const auto bad = f.call("POST", "/v2/team/hello/blobs/uploads/?digest=" + digest_of("x"), "y");
  CHECK(bad->status() == 400);
  CHECK(f.code(*bad) == "DIGEST_INVALID");
  CHECK(f.code(*f.call("POST", "/v2/team/hello/blobs/uploads/?digest=md5:1", "y")) == "DIGEST_INVALID");
  CHECK(f.code(*f.call("POST", "/v2/team/hello/blobs/uploads/?digest-algorithm=md5")) == "DIGEST_INVALID");
  const auto cancelled = f.begin();
  CHECK(f.call("DELETE", cancelled)->status() == 204);
  CHECK(f.call("DELETE", cancelled)->status() == 404);
  CHECK(std::filesystem::is_empty(f.folder.path() / "registry/uploads"));
}

TEST_CASE("a blob of another repository is mounted, one that is nowhere begins an upload") {
  RegistryApi f;
  f.push("shared", "team/other");
  const std::string uploads = "/v2/team/hello/blobs/uploads/?mount=" + digest_of("shared");
  CHECK(f.call("POST", uploads + "&from=team/nobody")->status() == 202);
  const auto mounted = f.call("POST", uploads + "&from=team/other");
  CHECK(mounted->status() == 201);
  CHECK(f.call("GET", f.field(*mounted, "Location"))->text == "shared");
  CHECK(f.call("DELETE", f.field(*mounted, "Location"))->status() == 202);
  CHECK(f.call("HEAD", f.field(*mounted, "Location"))->status() == 404);
  CHECK(f.call("POST", uploads)->status() == 201);
  CHECK(f.call("POST", "/v2/team/hello/blobs/uploads/?mount=" + digest_of("?"))->status() == 202);
  CHECK(f.code(*f.call("POST", "/v2/team/hello/blobs/uploads/?mount=x")) == "DIGEST_INVALID");
}

TEST_CASE("a blob is given whole or in part") {
  RegistryApi f;
  f.push("0123456789");
  const auto place = "/v2/team/hello/blobs/" + digest_of("0123456789");
  const auto head = f.call("HEAD", place);
  CHECK(head->status() == 200);
  CHECK(f.field(*head, "Content-Length") == "10");
  CHECK(f.field(*head, "Docker-Content-Digest") == digest_of("0123456789"));
  CHECK(head->text.empty());
  const auto part = f.call("GET", place, {}, {{"Range", "bytes=2-4"}});
  CHECK(part->status() == 206);
  CHECK(part->text == "234");
  CHECK(f.field(*part, "Content-Range") == "bytes 2-4/10");
  CHECK(f.call("GET", place, {}, {{"Range", "bytes=-3"}})->text == "789");
  CHECK(f.call("GET", place, {}, {{"Range", "bytes=2-4"}, {"If-Range", "\"other\""}})->text == "0123456789");
  const auto none = f.call("GET", place, {}, {{"Range", "bytes=10-"}});
  CHECK(none->status() == 416);
  CHECK(f.field(*none, "Content-Range") == "bytes */10");
  f.push("");
  const auto empty = f.call("GET", "/v2/team/hello/blobs/" + digest_of(""));
  CHECK(empty->status() == 200);
  CHECK(empty->finished);
  CHECK(f.code(*f.call("GET", "/v2/team/hello/blobs/" + digest_of("?"))) == "BLOB_UNKNOWN");
  CHECK(f.code(*f.call("DELETE", "/v2/team/hello/blobs/" + digest_of("?"))) == "BLOB_UNKNOWN");
}

TEST_CASE("a manifest is put by tag or digest, and becomes an image by its tag") {
  RegistryApi f;
  const auto text = f.manifest();
  const auto put = f.put("v1", text);
  REQUIRE(put->status() == 201);
  CHECK(f.field(*put, "Docker-Content-Digest") == digest_of(text));
  CHECK(f.field(*put, "OCI-Subject") == "(none)");
  REQUIRE(f.api_images.pushed.size() == 1);
  CHECK(f.api_images.pushed[0].first == "team/hello:v1");
  const auto got = f.call("GET", f.field(*put, "Location"));
  CHECK(got->text == text);
  CHECK(f.field(*got, "Content-Type") == manifest_type);
  CHECK(f.call("HEAD", "/v2/team/hello/manifests/v1")->status() == 200);
  CHECK(f.put(digest_of(text), text)->status() == 201);
  CHECK(f.api_images.pushed.size() == 1);

  const auto tagged = f.put(digest_of(text) + "?tag=v2&tag=v3", text);
  REQUIRE(tagged->status() == 201);
  std::vector<std::string> names;
  for (const auto& field : tagged->answer->fields)
    if (field.name == "OCI-Tag") names.push_back(field.value);
  CHECK(names == std::vector<std::string>{"v2", "v3"});
  CHECK(f.code(*f.put(digest_of(text) + "?tag=.no", text)) == "MANIFEST_INVALID");

  CHECK(f.code(*f.put(digest_of("other"), text)) == "DIGEST_INVALID");
  CHECK(f.code(*f.put("v1", "{")) == "MANIFEST_INVALID");
  const auto huge = f.put("v1", std::string((4 << 20) + 1, ' '));
  CHECK(huge->status() == 413);
  CHECK(f.code(*huge) == "SIZE_INVALID");
  const auto lacking = f.call("PUT", "/v2/team/other/manifests/v1", text, {{"Content-Type", manifest_type}});
  CHECK(lacking->status() == 404);
  CHECK(f.code(*lacking) == "MANIFEST_BLOB_UNKNOWN");
  CHECK(f.code(*f.call("GET", "/v2/team/hello/manifests/none")) == "MANIFEST_UNKNOWN");

  f.api_images.unfit = Error(Errc::corrupt, "layer 1: \"no tar\"");
  const auto warned = f.put("v4", text);
  CHECK(warned->status() == 201);
  CHECK(f.field(*warned, "Warning") == "299 - \"it is kept, but does not run here: layer 1: 'no tar'\"");
}

TEST_CASE("tags are listed by pages, and deleted with or without their manifest") {
  RegistryApi f;
  CHECK(f.code(*f.call("GET", "/v2/team/hello/tags/list")) == "NAME_UNKNOWN");
  const auto text = f.manifest();
  for (const auto* tag : {"c", "a", "b"}) REQUIRE(f.put(tag, text)->status() == 201);
  const auto all = f.call("GET", "/v2/team/hello/tags/list");
  CHECK(all->text == "{\"name\":\"team/hello\",\"tags\":[\"a\",\"b\",\"c\"]}\n");
  CHECK(f.field(*all, "Link") == "(none)");
  const auto page = f.call("GET", "/v2/team/hello/tags/list?n=2");
  CHECK(page->json().at("tags").as_array().size() == 2);
  CHECK(f.field(*page, "Link") == "</v2/team/hello/tags/list?n=2&last=b>; rel=\"next\"");
  const auto last = f.call("GET", "/v2/team/hello/tags/list?n=2&last=b");
  CHECK(last->json().at("tags").at(0) == "c");
  CHECK(f.field(*last, "Link") == "(none)");
  CHECK(f.call("GET", "/v2/team/hello/tags/list?n=0")->json().at("tags").as_array().empty());
  CHECK(f.call("GET", "/v2/team/hello/tags/list?n=x")->status() == 400);

  CHECK(f.call("DELETE", "/v2/team/hello/manifests/a")->status() == 202);
  CHECK(f.code(*f.call("DELETE", "/v2/team/hello/manifests/a")) == "MANIFEST_UNKNOWN");
  CHECK(f.call("GET", "/v2/team/hello/manifests/b")->status() == 200);
  CHECK(f.call("DELETE", "/v2/team/hello/manifests/" + digest_of(text))->status() == 202);
  CHECK(f.call("GET", "/v2/team/hello/manifests/b")->status() == 404);
  CHECK(f.call("GET", "/v2/team/hello/tags/list")->json().at("tags").as_array().empty());
}

TEST_CASE("referrers are an index, whether there are any or not, and can be filtered") {
  RegistryApi f;
  const auto place = "/v2/team/hello/referrers/" + digest_of("subject");
  const auto empty = f.call("GET", place);
  CHECK(empty->status() == 200);
  CHECK(f.field(*empty, "Content-Type") == image::media_type_index);
  CHECK(empty->json().at("manifests").as_array().empty());
  const auto subject =
      fmt::format(R"(,"subject":{{"mediaType":"{}","digest":"{}","size":7}})", manifest_type, digest_of("subject"));
  const auto signature = f.manifest("{}", subject + R"(,"artifactType":"application/signature")");
  const auto put = f.put(digest_of(signature), signature);
  REQUIRE(put->status() == 201);
  CHECK(f.field(*put, "OCI-Subject") == digest_of("subject"));
  const auto other = f.manifest("{}", subject + R"(,"artifactType":"application/sbom")");
  REQUIRE(f.put("sbom", other)->status() == 201);
  CHECK(f.call("GET", place)->json().at("manifests").as_array().size() == 2);
  const auto filtered = f.call("GET", place + "?artifactType=application%2Fsbom");
  CHECK(f.field(*filtered, "OCI-Filters-Applied") == "artifactType");
  REQUIRE(filtered->json().at("manifests").as_array().size() == 1);
  CHECK(filtered->json().at("manifests").at(0).at("digest").as_string() == digest_of(other));
}

TEST_CASE("many referrers come by pages of a few megabytes") {
  RegistryApi f;
  const auto place = "/v2/team/hello/referrers/" + digest_of("subject");
  for (int i = 0; i < 5; ++i) {
    const auto more =
        fmt::format(R"(,"annotations":{{"much":"{}"}},"subject":{{"mediaType":"{}","digest":"{}","size":7}})",
                    std::string(1'500'000, static_cast<char>('a' + i)), manifest_type, digest_of("subject"));
    REQUIRE(f.put("t" + std::to_string(i), f.manifest("{}", more))->status() == 201);
  }
  std::size_t found = 0;
  std::size_t pages = 0;
  for (std::string next = place; !next.empty(); ++pages) {
    const auto page = f.call("GET", next);
    found += page->json().at("manifests").as_array().size();
    CHECK(page->text.size() < 5 << 20);
    const auto link = f.field(*page, "Link");
    next = link == "(none)" ? "" : link.substr(1, link.find('>') - 1);
  }
  CHECK(found == 5);
  CHECK(pages == 3);
}

TEST_CASE("what a registry does not have, it says") {
  RegistryApi f;
  CHECK(f.code(*f.call("GET", "/v2/Team/tags/list")) == "NAME_INVALID");
  CHECK(f.code(*f.call("GET", "/v2/team/hello/manifests/sha256:bad")) == "DIGEST_INVALID");
  CHECK(f.call("GET", "/v2/whatever")->status() == 404);
  for (const auto& [method, target] : {std::pair<std::string, std::string>{"POST", "/v2/"},
                                       {"PATCH", "/v2/team/hello/manifests/v1"},
                                       {"PUT", "/v2/team/hello/blobs/" + digest_of("x")},
                                       {"DELETE", "/v2/team/hello/tags/list"},
                                       {"GET", "/v2/team/hello/blobs/uploads/"},
                                       {"OPTIONS", "/v2/team/hello/tags/list"}}) {
    INFO(method << " " << target);
    const auto refused = f.call(method, target);
    CHECK(refused->status() == 405);
    CHECK(f.code(*refused) == "UNSUPPORTED");
  }
}

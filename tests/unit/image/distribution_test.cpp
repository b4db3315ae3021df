#include "wick/image/distribution.hpp"

#include <boost/json/parse.hpp>
#include <catch2/catch.hpp>

#include "image/pushed_manifest.hpp"
#include "wick/base/text.hpp"
#include "wick/image/content_store.hpp"
#include "wick/image/reference.hpp"

using namespace wick;
using namespace wick::image;
using Kind = RegistryRequest::Kind;

namespace {

const std::string some_digest = "sha256:" + std::string(64, 'a');

RegistryResult<RegistryRequest> parse(std::string_view path) {
  std::vector<std::string> segments;
  for (const auto part : split(path, '/'))
    if (!part.empty()) segments.emplace_back(part);
  return parse_registry_path(segments);
}

RegistryCode refused(std::string_view path) {
  auto request = parse(path);
  REQUIRE_FALSE(request);
  return request.error().code;
}

std::string descriptor(std::string_view type, std::string_view more = "") {
  return R"({"mediaType":")" + std::string(type) + R"(","size":3,"digest":")" + some_digest + "\"" + std::string(more) +
         "}";
}
std::string manifest_of(std::string_view config_type, std::string_view more = "") {
  return R"({"schemaVersion":2,"config":)" + descriptor(config_type) + R"(,"layers":[)" + descriptor("x/y") + "]" +
         std::string(more) + "}";
}

}  // namespace

TEST_CASE("the last segments of a registry's path say what it asks for, the others are the repository") {
  CHECK(parse("")->kind == Kind::base);
  const auto blob = parse("team/hello/blobs/" + some_digest);
  REQUIRE(blob);
  CHECK(blob->kind == Kind::blob);
  CHECK(blob->repository == "team/hello");
  CHECK(blob->digest->text() == some_digest);
  CHECK(parse("hello/blobs/uploads")->kind == Kind::uploads);
  const auto upload = parse("hello/blobs/uploads/some-id");
  CHECK(upload->kind == Kind::upload);
  CHECK(upload->upload == "some-id");
  CHECK(parse("hello/manifests/v1")->tag == "v1");
  CHECK(parse("hello/manifests/" + some_digest)->digest->text() == some_digest);
  CHECK(parse("hello/tags/list")->kind == Kind::tags);
  CHECK(parse("hello/referrers/" + some_digest)->kind == Kind::referrers);
  // Repositories may be called as endpoints are.
  CHECK(parse("blobs/uploads/manifests/v1")->repository == "blobs/uploads");
  CHECK(parse("manifests/tags/tags/list")->repository == "manifests/tags");
  CHECK(parse("a/blobs/uploads/blobs/uploads")->repository == "a/blobs/uploads");
}

TEST_CASE("what is no path of a registry is refused in the spec's words") {
  CHECK(refused("hello") == RegistryCode::unsupported);
  CHECK(parse("hello").error().status == 404);
  CHECK(refused("Hello/tags/list") == RegistryCode::name_invalid);
  CHECK(refused("a..b/tags/list") == RegistryCode::name_invalid);
  CHECK(refused("_x/manifests/v1") == RegistryCode::name_invalid);
  CHECK(refused("tags/list") == RegistryCode::name_invalid);
  CHECK(refused(std::string(256, 'a') + "/tags/list") == RegistryCode::name_invalid);
  CHECK(parse(std::string(255, 'a') + "/tags/list"));
  CHECK(refused("hello/manifests/-v1") == RegistryCode::manifest_invalid);
  CHECK(refused("hello/manifests/" + std::string(129, 'a')) == RegistryCode::manifest_invalid);
  CHECK(refused("hello/manifests/sha256:baddigest") == RegistryCode::digest_invalid);
  CHECK(refused("hello/blobs/md5:" + std::string(32, 'a')) == RegistryCode::digest_invalid);
  CHECK(refused("hello/blobs/sha512:" + std::string(64, 'a')) == RegistryCode::digest_invalid);
  CHECK(refused("hello/blobs/sha256:" + std::string(64, 'A')) == RegistryCode::digest_invalid);
  CHECK(parse("hello/blobs/sha512:" + std::string(128, 'a')));
  // A segment that was decoded may hold a slash.
  const std::vector<std::string> hidden{"../../etc", "tags", "list"};
  CHECK(parse_registry_path(hidden).error().code == RegistryCode::name_invalid);
}

TEST_CASE("a Range field says which bytes") {
  const auto range = [](std::string_view field, std::uint64_t size) { return parse_range(field, size); };
  CHECK(*range("bytes=500-1499", 2048) == ByteRange{500, 1499});
  CHECK(*range("bytes=500-", 2048) == ByteRange{500, 2047});
  CHECK(*range("bytes=-500", 2048) == ByteRange{1548, 2047});
  CHECK(*range("bytes=-5000", 2048) == ByteRange{0, 2047});
  CHECK(*range("bytes=2000-5000", 2048) == ByteRange{2000, 2047});
  CHECK(*range("Bytes=0-0", 1) == ByteRange{0, 0});
  for (const auto* none : {"bytes=500-0", "bytes=5000-10000", "bytes=2048-", "bytes=-0", "bytes=-", "bytes=a-b",
                           "bytes=1", "bytes=", "bytes=1-99999999999999999999"})
    CHECK_FALSE(range(none, 2048));
  CHECK_FALSE(range("bytes=0-", 0));
  for (const auto* whole : {"lines=1-2", "bytes=0-1,3-4", ""}) {
    REQUIRE(range(whole, 2048));
    CHECK_FALSE(*range(whole, 2048));
  }
}

TEST_CASE("a chunk's Content-Range has no unit") {
  CHECK(parse_chunk_range("0-0") == ByteRange{0, 0});
  CHECK(parse_chunk_range("10-99")->size() == 90);
  for (const auto* wrong : {"", "-", "5", "9-5", "bytes 0-5", "0-5/6", " 0-5", "0-18446744073709551615", "-1-5"})
    CHECK_FALSE(parse_chunk_range(wrong));
}

TEST_CASE("a page begins after the last name, which need not be there") {
  const std::vector<std::string> names{"a", "b", "c", "d"};
  CHECK(page_of(names, "", 10).names == names);
  CHECK_FALSE(page_of(names, "", 4).more);
  CHECK(page_of(names, "", 3).more);
  CHECK(page_of(names, "b", 1).names == std::vector<std::string>{"c"});
  CHECK(page_of(names, "bb", 10).names == std::vector<std::string>{"c", "d"});
  CHECK(page_of(names, "z", 10).names.empty());
  CHECK(page_of(names, "", 0).names.empty());
  CHECK_FALSE(page_of(names, "", 0).more);
}

TEST_CASE("every failure has a code of the spec's table, and its status") {
  const RegistryFailure failure(RegistryCode::blob_unknown, "there is none: \"x\"");
  CHECK(failure.status == 404);
  const auto errors = boost::json::parse(failure.body()).at("errors").as_array();
  CHECK(errors.at(0).at("code") == "BLOB_UNKNOWN");
  CHECK(errors.at(0).at("message") == "there is none: \"x\"");
  const auto of = [](Errc code) {
    return registry_failure(Error(code, "x").hint("y"), RegistryCode::digest_invalid, RegistryCode::blob_unknown);
  };
  CHECK(of(Errc::invalid).code == RegistryCode::digest_invalid);
  CHECK(of(Errc::not_found).code == RegistryCode::blob_unknown);
  CHECK(of(Errc::too_large).status == 413);
  CHECK(of(Errc::unavailable).status == 507);
  CHECK(of(Errc::overloaded).status == 429);
  CHECK(of(Errc::overloaded).code == RegistryCode::too_many_requests);
  CHECK(of(Errc::conflict).status == 409);
  CHECK(of(Errc::internal).status == 500);
  CHECK(of(Errc::invalid).message == "x; y");
}

TEST_CASE("a digest is of one of two kinds") {
  CHECK(BlobDigest::of(HashAlgorithm::sha256, "").text() ==
        "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  const auto longer = BlobDigest::of(HashAlgorithm::sha512, "abc");
  CHECK(longer.text().starts_with("sha512:ddaf35a193617abacc417349ae204131"));
  CHECK(BlobDigest::parse(longer.text()).value() == longer);
  CHECK(BlobDigest::from_file_name(longer.file_name()).value() == longer);
  CHECK_FALSE(longer.sha256());
  CHECK(BlobDigest(Digest::of("abc")).sha256() == Digest::of("abc"));
  CHECK(BlobHash(HashAlgorithm::sha512).update("a").update("bc").finish() == longer);
}

TEST_CASE("a pushed manifest says what it names, and what it is") {
  const auto image =
      parse_pushed_manifest(manifest_of(media_type_config), "application/vnd.oci.image.manifest.v1+json");
  REQUIRE(image);
  CHECK(image->is_image());
  CHECK(image->layers.size() == 1);
  CHECK(image->config->digest.text() == some_digest);
  const auto artifact = parse_pushed_manifest(
      manifest_of("application/vnd.example", R"(,"subject":)" + descriptor("x/y") + R"(,"annotations":{"a":"b"})"),
      "application/vnd.oci.image.manifest.v1+json; charset=utf-8");
  REQUIRE(artifact);
  CHECK_FALSE(artifact->is_image());
  CHECK(artifact->artifact_type == "application/vnd.example");
  CHECK(artifact->subject->text() == some_digest);
  CHECK(artifact->annotations.at("a") == "b");
  const auto index = parse_pushed_manifest(
      R"({"schemaVersion":2,"manifests":[)" +
          descriptor(media_type_manifest, R"(,"platform":{"os":"linux","architecture":"nowhere"})") + "," +
          descriptor(media_type_manifest) + "]}",
      media_type_index);
  REQUIRE(index);
  CHECK(index->is_index);
  CHECK_FALSE(index->manifests[0].runs_here);
  CHECK(index->manifests[1].runs_here);
  const auto elsewhere =
      parse_pushed_manifest(R"({"schemaVersion":2,"config":)" + descriptor("x/y") + R"(,"layers":[)" +
                                descriptor("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip") + "," +
                                descriptor("x/y", R"(,"urls":["https://example.com/a"])") + "]}",
                            "");
  REQUIRE(elsewhere);
  CHECK(elsewhere->layers[0].elsewhere);
  CHECK(elsewhere->layers[1].elsewhere);
}

TEST_CASE("a pushed manifest that cannot be one is refused") {
  const auto both = R"({"schemaVersion":2,"manifests":[],"layers":[]})";
  const auto v1 = R"({"schemaVersion":1})";
  const auto no_size = R"({"schemaVersion":2,"config":{"mediaType":"a/b","digest":")" + some_digest + R"("}})";
  const auto bad_digest = R"({"schemaVersion":2,"config":{"mediaType":"a/b","size":1,"digest":"sha256:x"}})";
  for (const std::string& wrong :
       {std::string(), std::string("{"), std::string("[]"), std::string(both), std::string(v1), no_size,
        std::string(bad_digest), std::string(R"({"schemaVersion":2,"layers":[]})"),
        std::string(R"({"schemaVersion":2,"config":{},"layers":7})"), std::string(100, '[')}) {
    INFO(wrong);
    const auto parsed = parse_pushed_manifest(wrong, media_type_manifest);
    REQUIRE_FALSE(parsed);
    CHECK(parsed.error().code() == Errc::invalid);
  }
  const auto other = manifest_of(media_type_config, R"(,"mediaType":"application/vnd.oci.image.index.v1+json")");
  CHECK_FALSE(parse_pushed_manifest(other, media_type_manifest));
  CHECK_FALSE(parse_pushed_manifest(manifest_of("a/b"), "application/vnd.docker.distribution.manifest.v1+prettyjws"));
  CHECK(parse_pushed_manifest(std::string(pushed_manifest_bytes_max + 1, ' '), media_type_manifest).error().code() ==
        Errc::too_large);
}

TEST_CASE("repositories and tags are told by their grammar") {
  for (const auto* name : {"a", "hello", "team/hello", "a-b", "a--b", "a__b", "a.b/c_d", "localhost/a", "ghcr.io/a/b"})
    CHECK(is_repository_name(name));
  for (const auto* name : {"", "/", "a/", "/a", "a//b", "A", "a..b", "a___b", "-a", "a-", "_blobs", "a:b", "a b", "."})
    CHECK_FALSE(is_repository_name(name));
  CHECK(is_tag("v1.0_x-Y"));
  CHECK(is_tag("_x"));
  for (const auto* tag : {"", ".a", "-a", "a/b", "a:b", "ä"}) CHECK_FALSE(is_tag(tag));
}

#include <catch2/catch.hpp>

#include "wick/eventing/cloud_event.hpp"

using namespace wick;
using namespace wick::eventing;

namespace {

http::Fields minimal() { return {{"ce-specversion", "1.0"}, {"ce-id", "1"}, {"ce-source", "/s"}, {"ce-type", "t"}}; }

http::Fields with(std::string name, std::string value) {
  http::Fields fields = minimal();
  fields.set(name, std::move(value));
  return fields;
}

http::Fields without(std::string_view name) {
  http::Fields fields = minimal();
  fields.erase(name);
  return fields;
}

Result<CloudEvent> decode(const http::Fields& fields, std::string_view body = {}) {
  auto events = decode_message(fields, body);
  if (!events) return fail(std::move(events.error()));
  REQUIRE(events->size() == 1);
  return std::move(events->front());
}

std::string refusal(const http::Fields& fields, std::string_view body = {}) {
  const auto event = decode(fields, body);
  REQUIRE(!event);
  CHECK(event.error().code() == Errc::invalid);
  return event.error().what();
}

const http::Fields structured_fields = {{"Content-Type", "application/cloudevents+json"}};

std::string json_event(std::string_view more) {
  return R"({"specversion":"1.0","id":"1","source":"/s","type":"t")" + std::string(more) + "}";
}

}  // namespace

TEST_CASE("a binary event is its fields and its body") {
  http::Fields fields = minimal();
  fields.add("CE-Subject", "mail 1");
  fields.add("ce-time", "2018-04-05T03:56:24Z");
  fields.add("content-type", "application/json; charset=utf-8");
  fields.add("user-agent", "x");
  const auto event = decode(fields, "{\"a\": 1.0}");
  REQUIRE(event);
  CHECK(event->attributes.size() == 7);
  CHECK(event->text("subject") == "mail 1");
  CHECK(event->text("datacontenttype") == "application/json; charset=utf-8");
  CHECK(event->data == "{\"a\": 1.0}");
  CHECK(!decode(minimal())->data);
}

TEST_CASE("a binary event without what is required is refused with the reason") {
  CHECK(refusal({}) == "not a CloudEvent: attribute 'specversion' is missing");
  CHECK(refusal(without("ce-id")) == "required attribute 'id' is missing");
  CHECK(refusal(without("ce-source")) == "required attribute 'source' is missing");
  CHECK(refusal(without("ce-type")) == "required attribute 'type' is missing");
  CHECK(refusal(with("ce-id", "  ")) == "required attribute 'id' is blank");
  CHECK(refusal(with("ce-type", "%20")) == "required attribute 'type' is blank");
  CHECK(refusal(with("ce-specversion", "19.0")) == "attribute 'specversion' must be 1.0, not '19.0'");
  CHECK(decode(with("ce-specversion", "0.3")));
}

TEST_CASE("a binary event with a wrong attribute is refused") {
  const auto [name, value] = GENERATE(table<std::string, std::string>({{"ce-time", "yesterday"},
                                                                       {"ce-time", "2018-04-05"},
                                                                       {"ce-subject", ""},
                                                                       {"ce-dataschema", "relative/path"},
                                                                       {"ce-source", "has space"},
                                                                       {"ce-source", "%0A"},
                                                                       {"ce-my-extension", "x"},
                                                                       {"ce-my_extension", "x"},
                                                                       {"ce-data", "x"},
                                                                       {"ce-", "x"},
                                                                       {"ce-datacontenttype", "text/plain"},
                                                                       {"ce-ext", "%C0%A0"},
                                                                       {"ce-ext", "\xff"},
                                                                       {"ce-ext", "%07"},
                                                                       {"ce-ext", "%EF%BF%BF"},
                                                                       {"ce-ext", "%ED%A0%80"},
                                                                       {"Content-Type", "json"}}));
  INFO(name << ": " << value);
  CHECK(!refusal(with(name, value)).empty());
}

TEST_CASE("an attribute twice is refused") {
  http::Fields fields = minimal();
  fields.add("Ce-Id", "2");
  CHECK(refusal(fields) == "attribute 'id' is there twice");
}

TEST_CASE("header values are decoded once, leniently") {
  const auto [value, text] = GENERATE(table<std::string, std::string>({{"Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"},
                                                                       {"%e2%82%ac", "€"},
                                                                       {"%41", "A"},
                                                                       {"a b\"c%d", "a b\"c%d"},
                                                                       {"100%", "100%"},
                                                                       {"%2541", "%41"},
                                                                       {"\"quoted \\\"x\\\" %41\"", "quoted \"x\" A"},
                                                                       {"\"", "\""},
                                                                       {"€", "€"}}));
  CHECK(decode_header_value(value).value() == text);
}

TEST_CASE("header values are encoded only where they must be, and come back") {
  const auto [text, value] = GENERATE(table<std::string, std::string>({{"plain", "plain"},
                                                                       {"a b\"c%d", "a b\"c%d"},
                                                                       {"Euro € 😀", "Euro%20%E2%82%AC%20%F0%9F%98%80"},
                                                                       {"%41", "%2541"},
                                                                       {" x", "%20x"},
                                                                       {"\"x\"", "%22x%22"},
                                                                       {"", ""}}));
  CHECK(encode_header_value(text) == value);
  CHECK(decode_header_value(value).value() == text);
}

TEST_CASE("a structured event keeps the bytes of its data") {
  const std::string data =
      "{ \"n\": 1.0, \"big\": 123456789012345678901234567890, \"s\": \"a\\u0041}\\\"]\" , \"n\": 2}";
  const auto event =
      decode(structured_fields, json_event(", \"data\" :  " + data + "  ,\"ext\":5,\"flag\":true,\"none\":null"));
  REQUIRE(event);
  CHECK(event->data == data);
  CHECK(event->text("datacontenttype") == "application/json");
  CHECK(event->attributes.at("ext") == AttributeValue(5));
  CHECK(event->attributes.at("flag") == AttributeValue(true));
  CHECK(!event->has("none"));
}

TEST_CASE("what data means depends on its media type") {
  CHECK(decode(structured_fields, json_event(R"(,"datacontenttype":"text/xml","data":"<a\u00e9/>")"))->data == "<aé/>");
  CHECK(decode(structured_fields, json_event(R"(,"datacontenttype":"application/vnd.x+json","data":"<a/>")"))->data ==
        "\"<a/>\"");
  CHECK(decode(structured_fields, json_event(R"(,"data":null)"))->data == "null");
  CHECK(decode(structured_fields, json_event(R"(,"data_base64":"AAEC")"))->data == std::string("\0\1\2", 3));
  CHECK(!decode(structured_fields, json_event(R"(,"data_base64":"AAEC")"))->has("datacontenttype"));
  CHECK(!decode(structured_fields, json_event(""))->data);
  CHECK(!decode(structured_fields, json_event(R"(,"datacontenttype":"text/xml")"))->data);
}

TEST_CASE("a structured event that is wrong is refused") {
  const std::string more =
      GENERATE(as<std::string>(), R"(,"data":1,"data_base64":"AA==")", R"(,"data_base64":"A")", R"(,"data_base64":5)",
               R"(,"datacontenttype":"text/plain","data":{})", R"(,"ext":1.5)", R"(,"ext":3000000000)", R"(,"ext":{})",
               R"(,"ext":[])", R"(,"Ext":"x")", R"(,"id":"2")", R"(,"i\u0064":"2")", R"(,"subject":5)",
               R"(,"subject":"")", R"(,"time":"x")", R"(,"datacontenttype":"x")", ",", R"(,"a":"\u0007")");
  INFO(more);
  CHECK(!refusal(structured_fields, json_event(more)).empty());
}

TEST_CASE("a structured body that is no event object is refused") {
  const std::string body =
      GENERATE(as<std::string>(), "", "[]", "1", "{", "{}", "nonsense", "\xff", R"({"specversion":1.0,"id":"1"})",
               R"({"specversion":"1.0","id":"","source":"/s","type":"t"})");
  CHECK(!refusal(structured_fields, body).empty());
  CHECK(!refusal({{"Content-Type", "application/cloudevents+avro"}}, body).empty());
}

TEST_CASE("a batch is all or nothing") {
  const http::Fields batch = {{"Content-Type", "application/cloudevents-batch+json; charset=utf-8"}};
  CHECK(decode_message(batch, "[]")->empty());
  CHECK(decode_message(batch, "[" + json_event("") + " , " + json_event(",\"data\":[1,2]") + "]")->size() == 2);
  const auto wrong = decode_message(batch, "[" + json_event("") + ",{}]");
  CHECK(wrong.error().what().starts_with("event 1 of the batch: "));
  CHECK(!decode_message(batch, "[1]"));
  CHECK(!decode_message(batch, json_event("")));
  std::string many = "[" + json_event("");
  for (std::size_t i = 0; i < batch_events_max; ++i) many += "," + json_event("");
  CHECK(decode_message(batch, many + "]").error().code() == Errc::too_large);
}

TEST_CASE("JSON that is too deep is refused, JSON that is deep is kept") {
  const auto nested = [](std::size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  CHECK(decode(structured_fields, json_event(",\"data\":" + nested(500)))->data == nested(500));
  CHECK(!decode(structured_fields, json_event(",\"data\":" + nested(100'000))));
}

TEST_CASE("an event goes out in binary mode as it came in") {
  http::Fields fields = minimal();
  fields.add("ce-subject", "€ %41");
  fields.add("Content-Type", "text/plain");
  const CloudEvent event = decode(fields, "body").value();
  http::Fields out;
  const std::string body = encode_binary(event, out);
  CHECK(decode(out, body).value() == event);
  CHECK(out.find("Content-Type") == "text/plain");
  CHECK(!out.contains("ce-datacontenttype"));
}

TEST_CASE("the JSON format gives the event back, whatever its data") {
  const auto [type, data] = GENERATE(table<std::string, std::string>({{"application/json", "{ \"a\" : 1.0 }"},
                                                                      {"application/json", "not json"},
                                                                      {"text/plain", "line\n\"x\""},
                                                                      {"text/plain", "\xff\x00"},
                                                                      {"", "anything"},
                                                                      {"image/png", "\x89PNG"}}));
  CloudEvent event = decode(with("ce-ext", "x")).value();
  if (!type.empty()) event.attributes["datacontenttype"] = type;
  event.attributes["number"] = 7;
  event.data = data;
  CHECK(decode_json(encode_json(event)).value() == event);
  CHECK(attributes_from_json(attributes_to_json(event)).value() == event.attributes);
}

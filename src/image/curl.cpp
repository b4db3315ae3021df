#include "curl.hpp"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cstring>

#include "wick/base/text.hpp"

namespace wick::image {

namespace {

constexpr long connect_seconds_max = 10;
constexpr long stall_seconds_max = 30;
constexpr long stall_bytes_second = 64;  // less is a stall: nobody sends an image byte by byte
constexpr long short_seconds_max = 60;   // an exchange whose bodies are kept
constexpr std::size_t answer_field_bytes_max = 64 << 10;
constexpr std::size_t error_body_bytes_max = 64 << 10;

struct Library {
  decltype(&::curl_global_init) global_init;
  decltype(&::curl_easy_init) easy_init;
  decltype(&::curl_easy_cleanup) easy_cleanup;
  decltype(&::curl_easy_reset) easy_reset;
  decltype(&::curl_easy_setopt) easy_setopt;
  decltype(&::curl_easy_getinfo) easy_getinfo;
  decltype(&::curl_easy_perform) easy_perform;
  decltype(&::curl_easy_strerror) easy_strerror;
  decltype(&::curl_slist_append) slist_append;
  decltype(&::curl_slist_free_all) slist_free_all;
  decltype(&::curl_url) url;
  decltype(&::curl_url_cleanup) url_cleanup;
  decltype(&::curl_url_set) url_set;
  decltype(&::curl_url_get) url_get;
  decltype(&::curl_free) free;
};

Result<Library> load_library() {
  void* handle = ::dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL);
  if (!handle)
    return fail(Errc::unsupported, "images of registries need libcurl, which is not installed",
                "apt-get install libcurl4");
  Library library{};
  bool complete = true;
  const auto find = [&](auto& function, const char* name) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(::dlsym(handle, name));
    complete = complete && function != nullptr;
  };
  find(library.global_init, "curl_global_init");
  find(library.easy_init, "curl_easy_init");
  find(library.easy_cleanup, "curl_easy_cleanup");
  find(library.easy_reset, "curl_easy_reset");
  find(library.easy_setopt, "curl_easy_setopt");
  find(library.easy_getinfo, "curl_easy_getinfo");
  find(library.easy_perform, "curl_easy_perform");
  find(library.easy_strerror, "curl_easy_strerror");
  find(library.slist_append, "curl_slist_append");
  find(library.slist_free_all, "curl_slist_free_all");
  find(library.url, "curl_url");
  find(library.url_cleanup, "curl_url_cleanup");
  find(library.url_set, "curl_url_set");
  find(library.url_get, "curl_url_get");
  find(library.free, "curl_free");
  if (!complete) return fail(Errc::unsupported, "the libcurl that is installed is not the one that was built for");
  if (library.global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) return fail(Errc::internal, "libcurl does not start");
  return library;
}

/// Once a process, and for good: a library of this size is not unloaded.
const Result<Library>& curl_library() {
  static const Result<Library> library = load_library();
  return library;
}

struct FreeFields {
  void operator()(curl_slist* list) const { curl_library()->slist_free_all(list); }
};
using Fields = std::unique_ptr<curl_slist, FreeFields>;

struct FreeUrl {
  void operator()(CURLU* url) const { curl_library()->url_cleanup(url); }
};
using Url = std::unique_ptr<CURLU, FreeUrl>;

std::optional<std::string> part_of(CURLU* url, CURLUPart part, unsigned flags = 0) {
  char* text = nullptr;
  if (curl_library()->url_get(url, part, &text, flags) != CURLUE_OK || !text) return std::nullopt;
  std::string copy(text);
  curl_library()->free(text);
  return copy;
}

/// nullopt: link-local (where clouds keep the keys of a machine), multicast, or no address of a server at all.
std::optional<Reach> reach_of(const sockaddr& address) {
  std::array<std::uint8_t, 16> bytes{};
  bool four = address.sa_family == AF_INET;
  if (four) {
    std::memcpy(bytes.data(), &reinterpret_cast<const sockaddr_in&>(address).sin_addr, 4);
  } else if (address.sa_family == AF_INET6) {
    std::memcpy(bytes.data(), &reinterpret_cast<const sockaddr_in6&>(address).sin6_addr, 16);
    constexpr std::array<std::uint8_t, 12> mapped{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    if (std::memcmp(bytes.data(), mapped.data(), mapped.size()) == 0) {
      four = true;
      std::memmove(bytes.data(), bytes.data() + 12, 4);
    }
  } else {
    return std::nullopt;
  }
  const auto a = bytes[0];
  const auto b = bytes[1];
  if (four) {
    if (a == 127) return Reach::loopback;
    if (a == 0 || a >= 224 || (a == 169 && b == 254)) return std::nullopt;
    if (a == 10 || (a == 172 && b >= 16 && b < 32) || (a == 192 && b == 168) || (a == 100 && b >= 64 && b < 128))
      return Reach::private_network;
    return Reach::internet;
  }
  if (a == 0xff || (a == 0xfe && (b & 0xc0) == 0x80)) return std::nullopt;
  constexpr std::array<std::uint8_t, 16> one{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  if (bytes == one) return Reach::loopback;
  if (bytes == std::array<std::uint8_t, 16>{}) return std::nullopt;
  return (a & 0xfe) == 0xfc ? Reach::private_network : Reach::internet;
}

std::string text_of_address(const sockaddr& address) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  const void* bytes = address.sa_family == AF_INET
                          ? static_cast<const void*>(&reinterpret_cast<const sockaddr_in&>(address).sin_addr)
                          : &reinterpret_cast<const sockaddr_in6&>(address).sin6_addr;
  ::inet_ntop(address.sa_family, bytes, text.data(), text.size());
  return text.data();
}

/// What the callbacks of one exchange share.
struct Running {
  const HttpExchange& request;
  CURL* handle;
  HttpAnswer answer;
  std::size_t field_bytes = 0;
  std::uint64_t sent = 0;  // of an upload
  std::optional<Error> error;
  bool cut = false;  // enough of the words of a failure
  std::string refused_address;
  std::optional<Reach> peer;

  long status() const {
    long code = 0;
    curl_library()->easy_getinfo(handle, CURLINFO_RESPONSE_CODE, &code);
    return code;
  }
};

std::size_t on_field(char* data, std::size_t, std::size_t size, void* state) {
  auto& running = *static_cast<Running*>(state);
  const std::string_view line(data, size);
  running.field_bytes += size;
  if (running.field_bytes > answer_field_bytes_max) {
    running.error = Error(Errc::too_large,
                          fmt::format("an answer with more than {} of fields", human_bytes(answer_field_bytes_max)));
    return 0;
  }
  if (line.starts_with("HTTP/")) running.answer.fields.clear();
  const auto colon = line.find(':');
  if (colon == std::string_view::npos) return size;
  auto& value = running.answer.fields[to_lower(trim(line.substr(0, colon)))];
  auto text = line.substr(colon + 1);
  while (text.ends_with('\n') || text.ends_with('\r')) text.remove_suffix(1);
  if (!value.empty()) value += ", ";
  value += trim(text);
  return size;
}

std::size_t on_body(char* data, std::size_t, std::size_t size, void* state) {
  auto& running = *static_cast<Running*>(state);
  const auto status = running.status();
  const bool good = status == 200 || status == 206;
  if (good && running.request.sink) {
    auto taken = running.request.sink(status, {data, size});
    if (taken) return size;
    running.error = std::move(taken.error());
    return 0;
  }
  const auto most = good || status == 201 ? running.request.body_bytes_max : error_body_bytes_max;
  if (running.answer.body.size() + size <= most) {
    running.answer.body.append(data, size);
    return size;
  }
  if (good)
    running.error = Error(Errc::too_large, fmt::format("the answer has more than {}", human_bytes(most)));
  else
    running.cut = true;
  return 0;
}

std::size_t on_upload(char* into, std::size_t, std::size_t size, void* state) {
  auto& running = *static_cast<Running*>(state);
  auto got = running.request.upload(running.sent, into, size);
  if (got) {
    running.sent += *got;
    return *got;
  }
  running.error = std::move(got.error());
  return CURL_READFUNC_ABORT;
}

/// A kept connection had ended when the first byte was sent: libcurl opens another and begins again.
int on_seek(void* state, curl_off_t offset, int origin) {
  if (origin != SEEK_SET) return CURL_SEEKFUNC_CANTSEEK;
  static_cast<Running*>(state)->sent = static_cast<std::uint64_t>(offset);
  return CURL_SEEKFUNC_OK;
}

curl_socket_t on_socket(void* state, curlsocktype, curl_sockaddr* address) {
  auto& running = *static_cast<Running*>(state);
  const auto reach = reach_of(address->addr);
  if (!reach || *reach < running.request.reach) {
    running.refused_address = text_of_address(address->addr);
    return CURL_SOCKET_BAD;
  }
  running.peer = reach;
  return ::socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

Error error_of(CURLcode code, Running& running, const char* words) {
  if (running.error) return std::move(*running.error);
  if (!running.refused_address.empty())
    return Error(Errc::denied, fmt::format("{} leads to {}, an address that images are not fetched from",
                                           printable(running.request.url), running.refused_address));
  const std::string said = *words ? printable(words) : curl_library()->easy_strerror(code);
  switch (code) {
    case CURLE_OPERATION_TIMEDOUT:
      return Error(Errc::timed_out, said);
    case CURLE_PEER_FAILED_VERIFICATION:
      return Error(Errc::denied, said).hint("a certificate authority of its own: wick serve --registry-ca HOST=FILE");
    case CURLE_SSL_CONNECT_ERROR:
      return Error(Errc::unavailable, said)
          .hint("a registry without TLS has to be named: wick serve --registry-insecure HOST");
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
      return Error(Errc::unavailable, said)
          .hint("is its name right, and can this machine reach it? what is here already: wick image ls");
    default:
      return Error(Errc::unavailable, said);
  }
}

}  // namespace

std::string HttpAnswer::field(const std::string& name) const {
  const auto found = fields.find(name);
  return found == fields.end() ? std::string() : found->second;
}

void CurlConnection::Free::operator()(CURL* handle) const { curl_library()->easy_cleanup(handle); }
CurlConnection::~CurlConnection() = default;

Result<CurlConnection> CurlConnection::open() {
  const auto& library = curl_library();
  if (!library) return fail(library.error());
  CURL* handle = library->easy_init();
  if (!handle) return fail(Errc::internal, "libcurl gives no handle");
  return CurlConnection(handle);
}

Result<HttpAnswer> CurlConnection::exchange(const HttpExchange& request) {
  const auto& curl = *curl_library();
  CURL* handle = handle_.get();
  curl.easy_reset(handle);  // options only: the connection stays
  Running running{.request = request, .handle = handle, .answer = {}, .error = {}, .refused_address = {}, .peer = {}};
  std::array<char, CURL_ERROR_SIZE> words{};
  const auto set = [&](CURLoption option, auto value) { curl.easy_setopt(handle, option, value); };
  set(CURLOPT_ERRORBUFFER, words.data());
  set(CURLOPT_NOSIGNAL, 1L);
  set(CURLOPT_URL, request.url.c_str());
  set(CURLOPT_PROTOCOLS_STR, "http,https");
  set(CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  set(CURLOPT_NETRC, static_cast<long>(CURL_NETRC_IGNORED));
  set(CURLOPT_PROXY, "");
  set(CURLOPT_USERAGENT, "wick/" WICK_VERSION);
  set(CURLOPT_CONNECTTIMEOUT, connect_seconds_max);
  set(CURLOPT_LOW_SPEED_TIME, stall_seconds_max);
  set(CURLOPT_LOW_SPEED_LIMIT, stall_bytes_second);
  if (!request.sink && !request.upload) set(CURLOPT_TIMEOUT, short_seconds_max);
  curl_blob ca{.data = const_cast<char*>(request.ca_pem.data()), .len = request.ca_pem.size(), .flags = CURL_BLOB_COPY};
  if (!request.ca_pem.empty()) set(CURLOPT_CAINFO_BLOB, &ca);
  set(CURLOPT_HEADERFUNCTION, &on_field);
  set(CURLOPT_HEADERDATA, static_cast<void*>(&running));
  set(CURLOPT_WRITEFUNCTION, &on_body);
  set(CURLOPT_WRITEDATA, static_cast<void*>(&running));
  set(CURLOPT_OPENSOCKETFUNCTION, &on_socket);
  set(CURLOPT_OPENSOCKETDATA, static_cast<void*>(&running));
  if (request.method == "HEAD") {
    set(CURLOPT_NOBODY, 1L);
  } else if (request.upload) {
    set(CURLOPT_UPLOAD, 1L);
    set(CURLOPT_READFUNCTION, &on_upload);
    set(CURLOPT_READDATA, static_cast<void*>(&running));
    set(CURLOPT_SEEKFUNCTION, &on_seek);
    set(CURLOPT_SEEKDATA, static_cast<void*>(&running));
    set(CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(request.upload_bytes));
    set(CURLOPT_CUSTOMREQUEST, request.method.c_str());
  } else if (request.method != "GET") {
    set(CURLOPT_POSTFIELDS, request.body.data());
    set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request.body.size()));
    set(CURLOPT_CUSTOMREQUEST, request.method.c_str());
  }
  Fields fields(curl.slist_append(nullptr, "Expect:"));
  for (const auto& field : request.fields) (void)curl.slist_append(fields.get(), field.c_str());
  set(CURLOPT_HTTPHEADER, fields.get());

  const auto code = curl.easy_perform(handle);
  if (code != CURLE_OK && !running.cut) return fail(error_of(code, running, words.data()));
  running.answer.status = running.status();
  if (const auto location = running.answer.field("location"); !location.empty())
    running.answer.location = resolve_url(request.url, location).value_or("");
  // A connection that was open before: what it is connected to is known by its address.
  char* ip = nullptr;
  curl.easy_getinfo(handle, CURLINFO_PRIMARY_IP, &ip);
  sockaddr_in four{.sin_family = AF_INET, .sin_port = 0, .sin_addr = {}, .sin_zero = {}};
  sockaddr_in6 six{};
  six.sin6_family = AF_INET6;
  if (running.peer)
    running.answer.peer = *running.peer;
  else if (ip && ::inet_pton(AF_INET, ip, &four.sin_addr) == 1)
    running.answer.peer = reach_of(reinterpret_cast<const sockaddr&>(four)).value_or(Reach::internet);
  else if (ip && ::inet_pton(AF_INET6, ip, &six.sin6_addr) == 1)
    running.answer.peer = reach_of(reinterpret_cast<const sockaddr&>(six)).value_or(Reach::internet);
  return std::move(running.answer);
}

std::optional<std::string> resolve_url(const std::string& base, const std::string& reference) {
  if (!curl_library()) return std::nullopt;
  const auto& curl = *curl_library();
  Url url(curl.url());
  if (curl.url_set(url.get(), CURLUPART_URL, base.c_str(), 0) != CURLUE_OK ||
      curl.url_set(url.get(), CURLUPART_URL, reference.c_str(), CURLU_DISALLOW_USER) != CURLUE_OK)
    return std::nullopt;
  const auto scheme = part_of(url.get(), CURLUPART_SCHEME);
  if (scheme != "https" && scheme != "http") return std::nullopt;
  (void)curl.url_set(url.get(), CURLUPART_FRAGMENT, nullptr, 0);
  return part_of(url.get(), CURLUPART_URL);
}

std::string origin_of(const std::string& text) {
  if (!curl_library()) return {};
  Url url(curl_library()->url());
  if (curl_library()->url_set(url.get(), CURLUPART_URL, text.c_str(), 0) != CURLUE_OK) return {};
  return part_of(url.get(), CURLUPART_SCHEME).value_or("") + "://" +
         to_lower(part_of(url.get(), CURLUPART_HOST).value_or("")) + ":" +
         part_of(url.get(), CURLUPART_PORT, CURLU_DEFAULT_PORT).value_or("");
}

}  // namespace wick::image

#include "wick/base/error.hpp"

#include <cctype>
#include <cerrno>
#include <system_error>
#include <utility>

namespace wick {

std::string_view to_string(Errc code) {
  switch (code) {
    case Errc::internal:
      return "internal";
    case Errc::invalid:
      return "invalid";
    case Errc::not_found:
      return "not_found";
    case Errc::already_exists:
      return "already_exists";
    case Errc::conflict:
      return "conflict";
    case Errc::denied:
      return "denied";
    case Errc::too_large:
      return "too_large";
    case Errc::overloaded:
      return "overloaded";
    case Errc::timed_out:
      return "timed_out";
    case Errc::unavailable:
      return "unavailable";
    case Errc::unsupported:
      return "unsupported";
    case Errc::corrupt:
      return "corrupt";
    case Errc::io:
      return "io";
    case Errc::cancelled:
      return "cancelled";
    case Errc::build_failed:
      return "build_failed";
    case Errc::not_ready:
      return "not_ready";
  }
  return "internal";
}

std::string slug(Errc code) {
  std::string text = "E_";
  for (char c : to_string(code)) text += static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return text;
}

std::string Error::what() const {
  std::string text;
  for (auto place = where_.rbegin(); place != where_.rend(); ++place) text += *place + ": ";
  return text + message_;
}

Error&& Error::within(std::string where) && {
  where_.push_back(std::move(where));
  return std::move(*this);
}

Error&& Error::hint(std::string next) && {
  hint_ = std::move(next);
  return std::move(*this);
}

Error system_error(std::string_view what, int errno_value) {
  Errc code = Errc::io;
  if (errno_value == ENOENT) code = Errc::not_found;
  if (errno_value == EACCES || errno_value == EPERM) code = Errc::denied;
  if (errno_value == EEXIST) code = Errc::already_exists;
  return Error(code, std::string(what) + ": " + std::generic_category().message(errno_value));
}

}  // namespace wick

#include "wick/os/fd.hpp"

#include <fcntl.h>
#include <unistd.h>

namespace wick {

void Fd::reset(int value) {
  if (value_ >= 0) ::close(value_);
  value_ = value;
}

Fd Fd::duplicate() const { return Fd(::fcntl(value_, F_DUPFD_CLOEXEC, 0)); }

}  // namespace wick

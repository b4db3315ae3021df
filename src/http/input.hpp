// What a connection received and nobody has taken yet, and the body of the current message cut out of it.
#pragma once

#include <memory>
#include <string_view>

#include "chunked.hpp"
#include "framing.hpp"
#include "stream.hpp"

namespace wick::http {

class Input {
 public:
  Input(Stream& stream, Blocks& blocks, ChunkDecoder::Limits limits = {})
      : stream_(stream), blocks_(blocks), chunks_(limits) {}
  ~Input() { give_block(); }
  Input(const Input&) = delete;

  std::string_view received() const { return {block_.get() + begin_, end_ - begin_}; }
  bool empty() const { return begin_ == end_; }
  void take(std::size_t bytes) { begin_ += bytes; }
  void drop() { begin_ = end_ = 0, slice_ = {}; }
  /// Reads more without waiting; EAGAIN when there is nothing. Moves what is received to the front: views of it end.
  Io try_receive();
  /// Waits for more. Gives the block back while it waits with nothing received.
  awaitable<Io> receive();
  /// An idle connection costs no block.
  void give_block();

  /// From here on received bytes are the body of this framing.
  void begin_body(const Framing& framing);
  /// After begin_body: see ChunkDecoder::keep_trailers.
  void keep_trailers(std::string& into) { chunks_.keep_trailers(into); }
  /// Decoded body bytes at hand; empty when none are. Valid until the next receive.
  std::string_view slice();
  /// The same with as many chunks as are at hand moved together.
  std::string_view joined_slice();
  void consume(std::size_t bytes) { slice_.remove_prefix(bytes); }
  void drop_slice() { slice_ = {}; }
  /// The end of the body was seen and all of it consumed.
  bool finished() { return slice().empty() && decoded_; }
  /// Set once the body's framing is broken.
  const char* broken() const { return broken_; }
  /// The peer closed: the end of a body that lasts until then. False where that cuts the body short.
  bool end_of_stream();

 private:
  Stream& stream_;
  Blocks& blocks_;
  std::unique_ptr<char[]> block_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  Framing framing_;
  std::uint64_t left_ = 0;
  ChunkDecoder chunks_;
  bool decoded_ = true;
  const char* broken_ = nullptr;
  std::string_view slice_;  // lies in block_, before begin_
};

}  // namespace wick::http

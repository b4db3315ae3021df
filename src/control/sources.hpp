// What sources of events share: where their events go, and what their status says of it.
#pragma once

#include <string>

#include "control/subscribing.hpp"

namespace wick::control {

/// A source's own words in the conditions of its status (SinkProvided, Deployed and what a kind adds).
struct SourceSink {
  std::string stream;  // "namespace/name": where its events are stored; empty while the sink is not resolved
  std::string uri;
};

/// Resolves spec.sink and says so (condition SinkProvided, status.sinkUri). A sink that is a stream of ours gets the
/// events as they are stored; one that is not, from a stream of the source's own, with the retries that a Broker has
/// unless it says otherwise. In force when it returns; the stream is empty when the sink cannot be resolved.
awaitable<SourceSink> connect_sink(World& world, const model::Kind& kind, const ObjectKey& key,
                                   const json::object& source, model::Conditions& conditions, json::object& status);
/// The stream of the source's own is forgotten, with what waits in it.
void disconnect_sink(World& world, const model::Kind& kind, const ObjectKey& key);

/// Who an event of the source is from.
eventing::Sender source_sender(const model::Kind& kind, const ObjectKey& key);
/// Required attributes, time, and spec.ceOverrides.
eventing::CloudEvent source_event(const json::object& source, std::string type, std::string ce_source, WallTime when);
/// spec.ceOverrides.extensions, in lower case.
model::TextMap extensions_of(const json::object& source);
/// A random version 4 UUID (RFC 9562).
std::string random_uuid();

}  // namespace wick::control

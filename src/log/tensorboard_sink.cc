#include <pb_encode.h>
#include <tensorboard_event.pb.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>

#include "drop/log/metrics.h"
#include "log/append_file.h"
#include "log/crc32c.h"

namespace drop {

namespace {

constexpr std::string_view kFilePrefix = "events.out.tfevents.";
// tells TensorBoard to honour session starts
constexpr std::string_view kFileVersion = "brain.Event:2";

// --- nanopb's callbacks: fields of any length are read from where they lie ---

bool encode_text(pb_ostream_t* stream, const pb_field_t* field, void* const* argument) {
  const auto& text = *static_cast<const std::string_view*>(*argument);
  return pb_encode_tag_for_field(stream, field) &&
         pb_encode_string(stream, reinterpret_cast<const pb_byte_t*>(text.data()), text.size());
}

// nanopb takes the argument as a pointer to mutable data, which encoding never writes to
template <class Value>
pb_callback_t encoded_by(bool (*encode)(pb_ostream_t*, const pb_field_t*, void* const*),
                         const Value& value) {
  pb_callback_t callback{};
  callback.funcs.encode = encode;
  callback.arg = const_cast<Value*>(&value);
  return callback;
}

bool encode_values(pb_ostream_t* stream, const pb_field_t* field, void* const* argument) {
  for (const auto& [name, value] : *static_cast<const MetricValues*>(*argument)) {
    const std::string_view tag = name;
    drop_tensorboard_SummaryValue message = drop_tensorboard_SummaryValue_init_zero;
    message.tag = encoded_by(encode_text, tag);
    message.has_simple_value = true;
    message.simple_value = static_cast<float>(value);
    if (!pb_encode_tag_for_field(stream, field) ||
        !pb_encode_submessage(stream, drop_tensorboard_SummaryValue_fields, &message)) {
      return false;
    }
  }
  return true;
}

std::string encode(const drop_tensorboard_Event& event) {
  // two passes: how long, then the bytes
  size_t size = 0;
  if (!pb_get_encoded_size(&size, drop_tensorboard_Event_fields, &event)) {
    throw std::logic_error("a TensorBoard event has no size");
  }
  std::string bytes(size, '\0');
  pb_ostream_t stream =
      pb_ostream_from_buffer(reinterpret_cast<pb_byte_t*>(bytes.data()), bytes.size());
  if (!pb_encode(&stream, drop_tensorboard_Event_fields, &event)) {
    throw std::logic_error(std::string("a TensorBoard event cannot be encoded: ") +
                           PB_GET_ERROR(&stream));
  }
  return bytes;
}

// --- TFRecord framing ---

template <class Integer>
void append_little_endian(std::string& bytes, Integer value) {
  for (size_t i = 0; i < sizeof value; ++i) {
    bytes += static_cast<char>(static_cast<unsigned char>(value >> (8 * i)));
  }
}

// the format stores checksums rotated and shifted, so that a checksum of checksums is safe
uint32_t masked_crc(std::string_view bytes) {
  const uint32_t crc = crc32c(bytes);
  return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

std::string framed(const std::string& data) {
  std::string record;
  append_little_endian(record, static_cast<uint64_t>(data.size()));
  append_little_endian(record, masked_crc(record));
  record += data;
  append_little_endian(record, masked_crc(data));
  return record;
}

// --- the file ---

double now_s() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

// the newest second among the event files of a folder; -1 when there are none. A folder that cannot
// be read is left to the opening of the new file, which says why.
int64_t newest_session(const std::filesystem::path& folder) {
  int64_t newest = -1;
  std::error_code unreadable;
  for (const auto& entry : std::filesystem::directory_iterator(folder, unreadable)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(kFilePrefix)) continue;
    int64_t second = 0;
    std::from_chars(name.data() + kFilePrefix.size(), name.data() + name.size(), second);
    newest = std::max(newest, second);
  }
  return newest;
}

// TensorBoard reads the files of a folder by name: a later session must sort behind all others
std::filesystem::path next_file(const std::filesystem::path& folder, int64_t newest) {
  const int64_t second = std::max(static_cast<int64_t>(now_s()), newest + 1);
  char name[64];
  std::snprintf(name, sizeof name, "%s%010lld.%lld", kFilePrefix.data(),
                static_cast<long long>(second), static_cast<long long>(::getpid()));
  return folder / name;
}

class TensorboardSink : public MetricSink {
 public:
  TensorboardSink(const std::filesystem::path& folder, int64_t newest, int64_t resume_step)
      : file_(next_file(folder, newest)) {
    drop_tensorboard_Event version = drop_tensorboard_Event_init_zero;
    version.file_version = encoded_by(encode_text, kFileVersion);
    append(version, 0);
    if (newest >= 0) {
      // everything from this step on that an earlier session logged is void
      drop_tensorboard_Event start = drop_tensorboard_Event_init_zero;
      start.has_session_log = true;
      start.session_log.has_status = true;
      start.session_log.status = drop_tensorboard_SessionLog_Status_START;
      append(start, resume_step + 1);
    }
    file_.flush();
  }

  // TensorBoard wants the time of day, from which it computes relative times itself
  void write(int64_t step, double /*wall_time_s*/, const MetricValues& values) override {
    drop_tensorboard_Event event = drop_tensorboard_Event_init_zero;
    event.has_summary = true;
    event.summary.value = encoded_by(encode_values, values);
    append(event, step);
  }

  void flush() override { file_.flush(); }

 private:
  void append(drop_tensorboard_Event& event, int64_t step) {
    event.has_wall_time = true;
    event.wall_time = now_s();
    event.has_step = true;
    event.step = step;
    file_.append(framed(encode(event)));
  }

  AppendFile file_;
};

}  // namespace

std::unique_ptr<MetricSink> make_tensorboard_sink(const std::filesystem::path& folder,
                                                  int64_t resume_step) {
  return std::make_unique<TensorboardSink>(folder, newest_session(folder), resume_step);
}

}  // namespace drop

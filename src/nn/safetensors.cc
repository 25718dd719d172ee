#include "drop/nn/safetensors.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>

#include "drop/base/error.h"
#include "drop/base/sha256.h"

namespace drop {

namespace {

using Json = nlohmann::ordered_json;

// ten times what the largest of our files has; a JSON tree takes a hundred times its text's memory
constexpr uint64_t kMaxHeaderBytes = 256 << 10;
constexpr const char* kHeaderHashKey = "\"header_sha256\":\"";
constexpr size_t kDigits = 64;
constexpr const char* kCure =
    "the file is damaged or no checkpoint of this project; use an earlier checkpoint of the run or "
    "train again";

struct TypeName {
  at::ScalarType type;
  const char* name;
};
constexpr std::array<TypeName, 4> kTypes = {
    {{at::kFloat, "F32"}, {at::kDouble, "F64"}, {at::kLong, "I64"}, {at::kByte, "U8"}}};

const char* name_of(at::ScalarType type) {
  for (const TypeName& entry : kTypes) {
    if (entry.type == type) return entry.name;
  }
  throw RunError(std::string("safetensors: no name for type ") + c10::toString(type));
}

[[noreturn]] void refuse(const std::string& source, const std::string& what) {
  throw DataError(source + ": " + what + "; " + kCure);
}

// offset of the header hash's first digit within the file; exactly one such key is allowed
size_t find_header_hash(std::string_view head, const std::string& source) {
  const size_t key = head.find(kHeaderHashKey);
  if (key == std::string_view::npos) refuse(source, "the header has no header_sha256");
  const size_t digits = key + std::strlen(kHeaderHashKey);
  if (head.find(kHeaderHashKey, digits) != std::string_view::npos)
    refuse(source, "the header has two header_sha256");
  if (digits + kDigits >= head.size() || head[digits + kDigits] != '"') {
    refuse(source, "header_sha256 is not 64 digits long");
  }
  return digits;
}

std::string header_hash(std::string head, size_t digits) {
  head.replace(digits, kDigits, kDigits, '0');
  return sha256_hex(std::as_bytes(std::span(head)));
}

std::string shape_text(at::IntArrayRef shape) {
  std::string text = "[";
  for (const int64_t extent : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(extent);
  return text + "]";
}

std::optional<std::string> first_not_finite(const SafetensorsFile& file) {
  for (const auto& [name, tensor] : file.tensors) {
    if (!tensor.is_floating_point()) continue;
    const at::Tensor bad = at::isfinite(tensor).logical_not().flatten().nonzero();
    if (bad.size(0) > 0) {
      return "tensor " + name + ": element " + std::to_string(bad[0][0].item<int64_t>()) +
             " is not finite";
    }
  }
  return std::nullopt;
}

}  // namespace

bool SafetensorsFile::contains(const std::string& name) const {
  for (const auto& [known, tensor] : tensors) {
    if (known == name) return true;
  }
  return false;
}

const at::Tensor& SafetensorsFile::tensor(const std::string& name, at::IntArrayRef shape,
                                          at::ScalarType type, const std::string& source) const {
  for (const auto& [known, tensor] : tensors) {
    if (known != name) continue;
    if (tensor.sizes() != shape || tensor.scalar_type() != type) {
      throw DataError(source + ": tensor " + name + ": found " + name_of(tensor.scalar_type()) +
                      " " + shape_text(tensor.sizes()) + ", the config inside asks for " +
                      name_of(type) + " " + shape_text(shape) + "; " + kCure);
    }
    return tensor;
  }
  refuse(source, "tensor " + name + " is missing");
}

std::vector<std::byte> serialise_safetensors(const SafetensorsFile& file) {
  // the data part
  std::vector<std::byte> payload;
  Json header = Json::object();
  header["__metadata__"] = Json::object();
  for (const auto& [name, tensor] : file.tensors) {
    const at::Tensor host = tensor.detach().cpu().contiguous();
    const size_t begin = payload.size();
    const auto* data = static_cast<const std::byte*>(host.data_ptr());
    payload.insert(payload.end(), data, data + host.nbytes());
    Json shape = Json::array();
    for (const int64_t extent : host.sizes()) shape.push_back(extent);
    header[name] = {{"dtype", name_of(host.scalar_type())},
                    {"shape", shape},
                    {"data_offsets", {begin, payload.size()}}};
  }

  // the header, padded with blanks to a multiple of 8
  Json& metadata = header["__metadata__"];
  metadata["header_sha256"] = std::string(kDigits, '0');
  for (const auto& [key, value] : file.metadata) metadata[key] = value;
  metadata["payload_sha256"] = sha256_hex(payload);
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');
  std::string head(8, '\0');
  for (size_t i = 0; i < 8; ++i) head[i] = static_cast<char>((text.size() >> (8 * i)) & 0xff);
  head += text;
  const size_t digits = find_header_hash(head, "safetensors");
  head.replace(digits, kDigits, header_hash(head, digits));

  std::vector<std::byte> bytes(head.size() + payload.size());
  std::memcpy(bytes.data(), head.data(), head.size());
  if (!payload.empty()) std::memcpy(bytes.data() + head.size(), payload.data(), payload.size());
  return bytes;
}

SafetensorsFile parse_safetensors(std::span<const std::byte> bytes, const std::string& source) {
  // length word
  if (bytes.size() < 8)
    refuse(source,
           "found " + std::to_string(bytes.size()) + " bytes, a safetensors file has at least 8");
  uint64_t length = 0;
  for (size_t i = 0; i < 8; ++i)
    length |= static_cast<uint64_t>(std::to_integer<uint8_t>(bytes[i])) << (8 * i);
  const uint64_t most = std::min<uint64_t>(kMaxHeaderBytes, bytes.size() - 8);
  if (length > most) {
    refuse(source, "the header claims " + std::to_string(length) + " bytes, here are at most " +
                       std::to_string(most) + " possible");
  }
  const std::string head(reinterpret_cast<const char*>(bytes.data()), 8 + length);
  const std::span<const std::byte> payload = bytes.subspan(8 + length);

  // header, untouched since it was written
  const size_t digits = find_header_hash(head, source);
  if (header_hash(head, digits) != head.substr(digits, kDigits))
    refuse(source, "header_sha256 does not match the header");
  const Json header =
      Json::parse(head.begin() + 8, head.end(), nullptr, /*allow_exceptions=*/false);
  if (!header.is_object() || !header.contains("__metadata__") ||
      !header["__metadata__"].is_object()) {
    refuse(source, "the header is no JSON object with __metadata__");
  }
  SafetensorsFile file;
  for (const auto& [key, value] : header["__metadata__"].items()) {
    if (!value.is_string()) refuse(source, "metadata " + key + " is no string");
    file.metadata[key] = value.get<std::string>();
  }

  // data, untouched since it was written
  const auto claimed = file.metadata.find("payload_sha256");
  if (claimed == file.metadata.end()) refuse(source, "the header has no payload_sha256");
  if (sha256_hex(payload) != claimed->second) {
    refuse(source, "payload_sha256 does not match the " + std::to_string(payload.size()) +
                       " bytes of data");
  }

  // tensors, whose offsets cover the data exactly and in order
  uint64_t covered = 0;
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") continue;
    const bool well_formed =
        entry.is_object() && entry.contains("dtype") && entry["dtype"].is_string() &&
        entry.contains("shape") && entry["shape"].is_array() && entry.contains("data_offsets") &&
        entry["data_offsets"].is_array() && entry["data_offsets"].size() == 2 &&
        entry["data_offsets"][0].is_number_unsigned() &&
        entry["data_offsets"][1].is_number_unsigned();
    if (!well_formed)
      refuse(source, "tensor " + name + " is not described by dtype, shape, data_offsets");
    const uint64_t begin = entry["data_offsets"][0].get<uint64_t>();
    const uint64_t end = entry["data_offsets"][1].get<uint64_t>();
    if (begin != covered || end < begin || end > payload.size()) {
      refuse(source, "tensor " + name + " claims bytes " + std::to_string(begin) + " to " +
                         std::to_string(end) + " of " + std::to_string(payload.size()));
    }
    covered = end;

    const auto dtype = entry["dtype"].get<std::string>();
    const auto type = std::find_if(kTypes.begin(), kTypes.end(),
                                   [&](const TypeName& t) { return dtype == t.name; });
    if (type == kTypes.end())
      refuse(source, "tensor " + name + " has type " + dtype + ", allowed: F32, F64, I64, U8");
    std::vector<int64_t> shape;
    bool is_empty = false;
    uint64_t elements = 1;  // of an empty tensor: what its other axes would hold
    for (const Json& extent : entry["shape"]) {
      if (!extent.is_number_unsigned() || extent.get<uint64_t>() > payload.size())
        refuse(source, "tensor " + name + " has an impossible shape");
      shape.push_back(extent.get<int64_t>());
      is_empty = is_empty || shape.back() == 0;
      if (__builtin_mul_overflow(elements, std::max<uint64_t>(1, extent.get<uint64_t>()),
                                 &elements) ||
          elements > payload.size())
        refuse(source, "tensor " + name + " is larger than the file");
    }
    if ((is_empty ? 0 : elements * c10::elementSize(type->type)) != end - begin) {
      refuse(source,
             "tensor " + name + " of shape " + shape_text(shape) + " does not fill its bytes");
    }
    at::Tensor tensor = at::empty(shape, type->type);
    if (end > begin) std::memcpy(tensor.data_ptr(), payload.data() + begin, end - begin);
    file.tensors.emplace_back(name, std::move(tensor));
  }
  if (covered != payload.size()) refuse(source, "bytes behind the last tensor");
  return file;
}

std::string payload_sha256(std::span<const std::byte> bytes, const std::string& source) {
  return parse_safetensors(bytes, source).metadata.at("payload_sha256");
}

void require_finite(const SafetensorsFile& file, const std::string& source) {
  if (const auto problem = first_not_finite(file)) refuse(source, *problem);
}

void require_finite_result(const SafetensorsFile& file, const std::string& target) {
  if (const auto problem = first_not_finite(file)) {
    throw RunError(target + ": not written: " + *problem +
                   ": training has diverged; what was written before it stays; lower "
                   "train.learning_rate or train.reward_scale");
  }
}

}  // namespace drop

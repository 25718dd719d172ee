#pragma once

#include <ATen/ATen.h>

#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "drop/base/files.h"
#include "support/paths.h"

namespace drop::testing {

/// A file of golden values: plain safetensors, as the Python package writes it.
class GoldenFile {
 public:
  explicit GoldenFile(const std::string& name) {
    const std::vector<std::byte> bytes = read_file(fixture(name));
    uint64_t length = 0;
    std::memcpy(&length, bytes.data(), 8);
    const auto header =
        nlohmann::json::parse(reinterpret_cast<const char*>(bytes.data()) + 8,
                              reinterpret_cast<const char*>(bytes.data()) + 8 + length);
    for (const auto& [key, entry] : header.items()) {
      if (key == "__metadata__") {
        for (const auto& [name, value] : entry.items()) metadata[name] = value.get<std::string>();
        continue;
      }
      const std::string type = entry.at("dtype").get<std::string>();
      const at::ScalarType scalar = type == "F32"   ? at::kFloat
                                    : type == "F64" ? at::kDouble
                                                    : at::kLong;
      at::Tensor tensor = at::empty(entry.at("shape").get<std::vector<int64_t>>(), scalar);
      const auto begin = entry.at("data_offsets")[0].get<size_t>();
      std::memcpy(tensor.data_ptr(), bytes.data() + 8 + length + begin, tensor.nbytes());
      tensors[key] = tensor;
    }
  }

  const at::Tensor& operator[](const std::string& name) const {
    const auto found = tensors.find(name);
    if (found == tensors.end()) throw std::out_of_range("golden file has no " + name);
    return found->second;
  }
  double number(const std::string& key) const { return std::stod(metadata.at(key)); }
  bool on(const std::string& key) const { return metadata.at(key) == "on"; }

  std::map<std::string, at::Tensor> tensors;
  std::map<std::string, std::string> metadata;
};

/// Largest deviation relative to the largest value of `expected` (1 where that is smaller than
/// 1e-6: then it is absolute); infinite when anything is not finite.
inline double deviation(const at::Tensor& found, const at::Tensor& expected) {
  const at::Tensor a = found.detach().cpu().to(at::kDouble);
  const at::Tensor b = expected.detach().cpu().to(at::kDouble);
  if (!at::isfinite(a).all().item<bool>() || a.sizes() != b.sizes())
    return std::numeric_limits<double>::infinity();
  const double scale = b.abs().max().item<double>();
  return (a - b).abs().max().item<double>() / (scale < 1e-6 ? 1.0 : scale);
}

}  // namespace drop::testing

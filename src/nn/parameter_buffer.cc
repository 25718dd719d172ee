#include "drop/nn/parameter_buffer.h"

#include <stdexcept>

namespace drop {

ParameterBuffer::ParameterBuffer(std::vector<ParameterSpec> specs, const at::TensorOptions& options)
    : specs_(std::move(specs)) {
  offsets_.push_back(0);
  for (const ParameterSpec& spec : specs_) {
    int64_t size = 1;
    for (const int64_t extent : spec.shape) size *= extent;
    offsets_.push_back(offsets_.back() + size);
  }
  flat_ = at::zeros({offsets_.back()}, options);
  for (size_t i = 0; i < specs_.size(); ++i) {
    const at::Tensor part = flat_.narrow(-1, offsets_[i], offsets_[i + 1] - offsets_[i]);
    views_.push_back(part.view(specs_[i].shape).detach());
  }
}

size_t ParameterBuffer::index(std::string_view name) const {
  for (size_t i = 0; i < specs_.size(); ++i) {
    if (specs_[i].name == name) return i;
  }
  throw std::out_of_range("no parameter named " + std::string(name));
}

const at::Tensor& ParameterBuffer::view(std::string_view name) const { return views_[index(name)]; }

int64_t ParameterBuffer::offset(std::string_view name) const { return offsets_[index(name)]; }

const ParameterSpec& ParameterBuffer::spec(std::string_view name) const {
  return specs_[index(name)];
}

bool ParameterBuffer::contains(std::string_view name) const {
  for (const ParameterSpec& spec : specs_) {
    if (spec.name == name) return true;
  }
  return false;
}

at::Tensor ParameterBuffer::segment(std::string_view prefix) const {
  int64_t begin = -1;
  int64_t end = -1;
  for (size_t i = 0; i < specs_.size(); ++i) {
    if (specs_[i].name.compare(0, prefix.size(), prefix) != 0) continue;
    if (begin < 0) begin = offsets_[i];
    if (end >= 0 && end != offsets_[i]) {
      throw std::out_of_range("parameters beginning with " + std::string(prefix) +
                              " are not contiguous");
    }
    end = offsets_[i + 1];
  }
  if (begin < 0) throw std::out_of_range("no parameter begins with " + std::string(prefix));
  return flat_.narrow(-1, begin, end - begin);
}

ParameterBuffer ParameterBuffer::like() const { return ParameterBuffer(specs_, flat_.options()); }

void ParameterBuffer::collect_gradients_in(const ParameterBuffer& gradients) {
  for (size_t i = 0; i < views_.size(); ++i) {
    views_[i].set_requires_grad(true);
    views_[i].mutable_grad() = gradients.views_[i];
  }
}

}  // namespace drop

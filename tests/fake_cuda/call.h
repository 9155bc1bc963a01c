// One call of a kernel: tensors of the device become tensors of the host for it, and its results tensors of the device.
#pragma once
#include "memory.h"

namespace fake {

// A tensor of the host with the bytes of one on the device.
inline at::Tensor as_host(const at::Tensor& tensor) {
  auto* impl = tensor.unsafeGetTensorImpl();
  auto copy = impl->shallow_copy_and_detach(c10::VariableVersion(0), true);
  copy->_change_backend_component_keys(c10::Device(c10::kCPU));
  if (impl->has_storage())
    copy->set_storage_keep_dtype(c10::Storage(Block::of(impl->unsafe_storage().unsafeGetStorageImpl()).host));
  return at::Tensor(std::move(copy));
}

class Call {
 public:
  struct Argument {
    at::Tensor device, host;
    bool written;
  };

  c10::DeviceIndex device = -1;  // of the arguments, -1 while none is known
  std::vector<Argument> arguments;

  at::Tensor to_host(const at::Tensor& tensor, bool written) {
    auto found = by_device_.find(tensor.unsafeGetTensorImpl());
    if (found != by_device_.end()) {
      arguments[found->second].written |= written;
      return arguments[found->second].host;
    }
    auto host = as_host(tensor);
    by_device_[tensor.unsafeGetTensorImpl()] = arguments.size();
    by_host_[host.unsafeGetTensorImpl()] = arguments.size();
    if (tensor.has_storage()) storages_.emplace(graphs::storage_of(host), tensor.storage());
    arguments.push_back({tensor, host, written});
    return host;
  }
  c10::Storage to_host(const c10::Storage& storage) {
    c10::Storage host(Block::of(storage.unsafeGetStorageImpl()).host);
    storages_.emplace(host.unsafeGetStorageImpl(), storage);
    return host;
  }
  bool knows(c10::StorageImpl* host) const { return storages_.count(host); }

  // Gives the arguments the sizes and the memory that the kernel gave them.
  void settle() {
    for (auto& [host, storage] : storages_) {
      auto* own = storage.unsafeGetStorageImpl();
      if (own->_mutable_data_ptr_no_checks().get() == to_device_pointer(host) && own->nbytes() == host->nbytes()) continue;
      auto kept = Block::of(own).host;
      own->set_nbytes(kept->nbytes());
      own->set_data_ptr_noswap(Block::pointer(kept, device));
    }
    for (auto& argument : arguments) {
      if (!argument.written || !argument.device.has_storage()) continue;
      auto *own = argument.device.unsafeGetTensorImpl(), *host = argument.host.unsafeGetTensorImpl();
      auto* now = host->unsafe_storage().unsafeGetStorageImpl();
      if (Block::of(own->unsafe_storage().unsafeGetStorageImpl()).host.get() != now)
        own->set_storage_keep_dtype(device_storage(host->unsafe_storage()));
      if (own->sizes() != host->sizes() || own->strides() != host->strides() ||
          own->storage_offset() != host->storage_offset())
        own->set_sizes_and_strides(host->sizes(), host->strides(), host->storage_offset());
    }
  }

  // Arguments come back as themselves, views in the argument's storage, and others without a copy.
  at::Tensor to_device(const at::Tensor& tensor) {
    if (!tensor.defined() || tensor.is_cuda()) return tensor;
    auto found = by_host_.find(tensor.unsafeGetTensorImpl());
    if (found != by_host_.end()) return arguments[found->second].device;
    auto impl = tensor.getIntrusivePtr();
    if (impl.use_count() > 2) impl = impl->shallow_copy_and_detach(c10::VariableVersion(0), true);
    impl->set_allow_tensor_metadata_change(true);
    if (!impl->has_storage()) {
      impl->_change_backend_component_keys(cuda(device));
    } else {
      auto storage = device_storage(impl->unsafe_storage());
      impl->_change_backend_component_keys(cuda(device));
      impl->set_storage_keep_dtype(storage);
    }
    return at::Tensor(std::move(impl));
  }

 private:
  static void* to_device_pointer(c10::StorageImpl* host) { return fake::to_device(host->mutable_data()); }

  c10::Storage device_storage(const c10::Storage& host) {
    auto found = storages_.find(host.unsafeGetStorageImpl());
    if (found != storages_.end()) return found->second;
    auto storage = adopt(host, device);
    storages_.emplace(host.unsafeGetStorageImpl(), storage);
    return storage;
  }

  std::unordered_map<c10::TensorImpl*, size_t> by_device_, by_host_;
  std::unordered_map<c10::StorageImpl*, c10::Storage> storages_;  // of the host, of the device
};

}  // namespace fake

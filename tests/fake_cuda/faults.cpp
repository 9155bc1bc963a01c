// Does what a fault in the program would do, one for each name, on the fake device. Prints what was noticed; with `--right`, the
// same without the fault, where nothing may be.
//
// Linked to libtorch's CPU part only, as the program is; opens the device at run time.
#include <ATen/ATen.h>
#include <c10/core/Event.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <stdexcept>
#include <string>

namespace {

void* object = nullptr;
template <class F>
F* function(const char* name) {
  auto* found = reinterpret_cast<F*>(dlsym(object, name));
  if (!found) throw std::runtime_error(dlerror());
  return found;
}
void check(char* fault) {
  if (fault) throw std::runtime_error(fault);
}

const c10::Device kCuda(c10::kCUDA, 0);
at::Tensor on_device(at::Tensor host) { return host.to(kCuda); }

// A graph of what `body` asks for. Replayed by the caller.
void* captured(void* graphs, const std::function<void()>& body) {
  void* graph = nullptr;
  check(function<char*(void*)>("admix_cuda_capture_begin")(graphs));
  body();
  check(function<char*(void*, void**)>("admix_cuda_capture_end")(graphs, &graph));
  return graph;
}
void* new_graphs() {
  void* graphs = nullptr;
  check(function<char*(int, void**)>("admix_cuda_graphs_new")(0, &graphs));
  return graphs;
}
void replay(void* graph) { check(function<char*(void*)>("admix_cuda_graph_replay")(graph)); }

// An index that lies in host memory.
void cpu_index(bool right) {
  auto table = on_device(at::arange(8)), index = at::arange(3);
  table.index_select(0, right ? on_device(index) : index);
}

// A host that follows a pointer of the device.
void host_read(bool right) {
  auto values = on_device(at::ones({4}));
  if (right) values = values.cpu();
  printf("%f\n", *static_cast<volatile float*>(values.data_ptr()));
}

// A second stream that reads what the first one writes, without waiting for it.
void missing_wait(bool right) {
  const c10::impl::VirtualGuardImpl cuda(c10::kCUDA);
  auto values = on_device(at::ones({4}));
  values.add_(1);
  const auto work = cuda.getStream(kCuda), aside = cuda.getStreamFromGlobalPool(kCuda);
  c10::Event written(c10::kCUDA);
  written.record(work);
  if (right) written.block(aside);
  {
    const c10::StreamGuard on(aside);
    (values * 2).sum();
  }
  c10::Event done(c10::kCUDA);
  done.record(aside);
  done.block(work);
}

// Memory that goes back while another stream reads it.
void early_free(bool right) {
  const c10::impl::VirtualGuardImpl cuda(c10::kCUDA);
  auto values = on_device(at::ones({4}));
  const auto aside = cuda.getStreamFromGlobalPool(kCuda);
  c10::Event written(c10::kCUDA);
  written.record(cuda.getStream(kCuda));
  written.block(aside);
  {
    const c10::StreamGuard on(aside);
    values.sum();
  }
  if (right) cuda.recordDataPtrOnStream(values.storage().data_ptr(), aside);
  values.reset();
}

// Pinned memory that the host writes again before the copy from it is done.
void early_write(bool right) {
  auto host = at::ones({4}, at::TensorOptions().pinned_memory(true));
  auto values = at::empty({4}, at::TensorOptions().device(kCuda));
  values.copy_(host, /*non_blocking=*/true);
  if (right) c10::impl::VirtualGuardImpl(c10::kCUDA).synchronizeDevice(0);
  host.fill_(5);
  if (values.cpu().sum().item<float>() != 4) throw std::runtime_error("the device got what the host wrote later");
}

// A number that changes from step to step and is given to a graph by value.
void baked_scalar(bool right) {
  auto rate = at::scalar_tensor(1.0), on = on_device(rate);
  auto sum = on_device(at::zeros({4}));
  void* graph = captured(new_graphs(), [&] { sum.add_(right ? on : rate); });
  replay(graph);
  rate.fill_(10.0);
  on.copy_(rate);
  replay(graph);
  const auto found = sum.cpu().sum().item<float>();
  if (found != 44) throw std::runtime_error("a replay took the number of the capture: " + std::to_string(found));
}

// A value that the host reads while a step is captured.
void sync_in_capture(bool right) {
  auto values = on_device(at::ones({4}));
  captured(new_graphs(), [&] {
    auto sum = values.sum();
    if (!right) sum.item<float>();
  });
}

// A result of a graph that is kept beyond the next replay of another.
void stale_pointer(bool right) {
  auto* graphs = new_graphs();
  auto values = on_device(at::ones({4}));
  at::Tensor kept, other;
  void* first = captured(graphs, [&] { kept = values * 2; });
  void* second = captured(graphs, [&] { other = values * 3; });
  replay(first);
  if (right) kept = kept.clone();
  replay(second);
  if (kept.cpu().sum().item<float>() != 8) throw std::runtime_error("a result that was kept is not there any more");
}

// Memory that is read before it is written.
void unwritten(bool right) {
  auto values = at::empty({4}, at::TensorOptions().device(kCuda));
  if (right) values.zero_();
  if (at::isnan(values.cpu()).any().item<bool>()) throw std::runtime_error("fresh memory holds no numbers");
}

}  // namespace

int main(int count, char** words) {
  const std::map<std::string, void (*)(bool)> faults = {
      {"cpu_index", cpu_index},         {"host_read", host_read},       {"missing_wait", missing_wait},
      {"early_free", early_free},       {"early_write", early_write},   {"baked_scalar", baked_scalar},
      {"sync_in_capture", sync_in_capture}, {"stale_pointer", stale_pointer}, {"unwritten", unwritten},
  };
  const auto fault = count > 1 ? faults.find(words[1]) : faults.end();
  if (fault == faults.end()) {
    fprintf(stderr, "expected one of:");
    for (auto& [name, _] : faults) fprintf(stderr, " %s", name.c_str());
    fprintf(stderr, "\n");
    return 2;
  }
  object = dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL);
  if (!object) {
    fprintf(stderr, "%s\n", dlerror());
    return 2;
  }
  try {
    fault->second(count > 2 && std::string(words[2]) == "--right");
  } catch (const c10::Error& error) {
    printf("%s\n", error.what_without_backtrace());
    return 1;
  } catch (const std::exception& error) {
    printf("%s\n", error.what());
    return 1;
  }
  return 0;
}

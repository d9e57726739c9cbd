/* A made-up libnvidia-ml.so.1 for tests, with the structures of nvidia-ml-py. What it says comes from NAME=VALUE lines
   of the file "state" in the folder LD_LIBRARY_PATH, else from FAKE_NVML_* variables; it is read at each call. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OK = 0, UNINITIALIZED = 1, INVALID = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, TOO_SMALL = 7, TIMEOUT = 10, LOST = 15 };
typedef int ret;
typedef struct { int index, part; } dev;
typedef struct { unsigned long long total, free, used; } memory1;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } memory2;
typedef struct { unsigned gpu, memory; } rates;
typedef struct { char legacy[16]; unsigned domain, bus, device, id, subsystem; char address[32]; } pci;
typedef struct { unsigned pid; unsigned long long used; unsigned instance, compute; } process;
typedef struct { dev *device; unsigned long long type, data; unsigned instance, compute; } event;
typedef struct { unsigned field, scope; long long time, latency; unsigned type; ret result;
                 union { double d; unsigned u; unsigned long long l; } value; } field;
typedef struct { unsigned long long total, free, used; } bar1;
static dev D[8] = {{0, -1}, {1, -1}, {2, -1}, {3, -1}, {4, -1}, {5, -1}, {6, -1}, {7, -1}};
static dev P[2] = {{0, 0}, {0, 1}};
static int started, told;

static const char *state_path(void) {
  static char path[4096];
  const char *folder = getenv("LD_LIBRARY_PATH");
  if (!folder) return NULL;
  snprintf(path, sizeof path, "%s/state", folder);
  return path;
}
static const char *setting(const char *name, char *buffer, size_t size) {
  const char *path = state_path();
  FILE *file = path ? fopen(path, "r") : NULL;
  size_t length = strlen(name);
  while (file && fgets(buffer, size, file))
    if (!strncmp(buffer, name, length) && buffer[length] == '=') {
      buffer[strcspn(buffer, "\n")] = 0;
      fclose(file);
      return buffer + length + 1;
    }
  if (file) fclose(file);
  return getenv(name);
}
static int number(const char *name, int otherwise) {
  char buffer[256];
  const char *value = setting(name, buffer, sizeof buffer);
  return value && *value ? atoi(value) : otherwise;
}
static int gpus(void) { return number("FAKE_NVML_GPUS", 2); }
static int mig(dev *d) { return d->index == 0 && number("FAKE_NVML_MIG", 0); }
static ret put(char *to, unsigned size, const char *text) {
  if (strlen(text) >= size) return TOO_SMALL;
  strcpy(to, text);
  return OK;
}
static ret alive(dev *d) { return d->index == number("FAKE_NVML_LOST", -1) ? LOST : number("FAKE_NVML_ERROR", 0); }

ret nvmlInit_v2(void) {
  while (number("FAKE_NVML_HANG", 0)) sleep(1);
  if (number("FAKE_NVML_CRASH", 0)) abort();
  if (number("FAKE_NVML_INIT", 0)) return number("FAKE_NVML_INIT", 0);
  started = 1;
  return OK;
}
ret nvmlInitWithFlags(unsigned flags) { return nvmlInit_v2(); }
ret nvmlShutdown(void) { return started ? OK : UNINITIALIZED; }
const char *nvmlErrorString(ret result) { return result == LOST ? "GPU is lost" : "made-up error"; }
ret nvmlSystemGetDriverVersion(char *to, unsigned size) { return put(to, size, "580.95.05"); }
ret nvmlSystemGetCudaDriverVersion_v2(int *to) { *to = 13010; return OK; }
ret nvmlDeviceGetCount_v2(unsigned *to) {
  while (number("FAKE_NVML_HANG", 0)) sleep(1);
  *to = gpus();
  return started ? OK : UNINITIALIZED;
}
ret nvmlDeviceGetHandleByIndex_v2(unsigned index, dev **to) {
  if ((int)index >= gpus()) return INVALID;
  if ((int)index == number("FAKE_NVML_LOST", -1)) return LOST;
  *to = &D[index];
  return OK;
}
ret nvmlDeviceGetName(dev *d, char *to, unsigned size) {
  return put(to, size, d->part < 0 ? "NVIDIA Fake H200" : "NVIDIA Fake H200 MIG 1g.18gb");
}
ret nvmlDeviceGetUUID(dev *d, char *to, unsigned size) {
  char text[64];
  snprintf(text, sizeof text, d->part < 0 ? "GPU-0000000%d" : "MIG-0000000%d", d->part < 0 ? d->index : d->part);
  return put(to, size, text);
}
ret nvmlDeviceGetPciInfo_v3(dev *d, pci *to) {
  memset(to, 0, sizeof *to);
  to->id = 0x233510de;
  snprintf(to->address, sizeof to->address, "00000000:%02X:00.0", 0x18 + d->index);
  return OK;
}
ret nvmlDeviceGetMemoryInfo(dev *d, memory1 *to) {
  if (number("FAKE_NVML_UNIFIED", 0)) return NOT_SUPPORTED;
  to->total = d->part < 0 ? 150754820096ULL : 18 * (1ULL << 30);
  to->used = 1ULL << 30;
  to->free = to->total - to->used;
  return alive(d);
}
ret nvmlDeviceGetMemoryInfo_v2(dev *d, memory2 *to) {
  memory1 plain;
  ret result = nvmlDeviceGetMemoryInfo(d, &plain);
  to->total = plain.total;
  to->reserved = 500 << 20;
  to->used = plain.used;
  to->free = plain.total - plain.used - to->reserved;
  return result;
}
ret nvmlDeviceGetUtilizationRates(dev *d, rates *to) {
  to->gpu = 37;
  to->memory = 12;
  return mig(d) ? NOT_SUPPORTED : alive(d);
}
ret nvmlDeviceGetTemperature(dev *d, int sensor, unsigned *to) { *to = 55; return alive(d); }
ret nvmlDeviceGetTemperatureThreshold(dev *d, int which, unsigned *to) { *to = 90 + which; return OK; }
ret nvmlDeviceGetPowerUsage(dev *d, unsigned *to) { *to = 123456; return alive(d); }
ret nvmlDeviceGetEnforcedPowerLimit(dev *d, unsigned *to) { *to = 700000; return OK; }
ret nvmlDeviceGetTotalEnergyConsumption(dev *d, unsigned long long *to) { *to = 99000; return OK; }
ret nvmlDeviceGetCudaComputeCapability(dev *d, int *major, int *minor) { *major = 9; *minor = 0; return OK; }
ret nvmlDeviceGetArchitecture(dev *d, unsigned *to) { *to = 9; return OK; }
ret nvmlDeviceGetAddressingMode(dev *d, unsigned *to) { to[1] = number("FAKE_NVML_UNIFIED", 0) ? 2 : 0; return OK; }
ret nvmlDeviceGetComputeMode(dev *d, unsigned *to) { *to = number("FAKE_NVML_COMPUTE_MODE", 0); return OK; }
ret nvmlDeviceGetClockInfo(dev *d, unsigned which, unsigned *to) { *to = 1000 + which; return OK; }
ret nvmlDeviceGetCurrentClocksEventReasons(dev *d, unsigned long long *to) { *to = number("FAKE_NVML_THROTTLE", 0); return OK; }
ret nvmlDeviceGetTotalEccErrors(dev *d, int type, int counter, unsigned long long *to) {
  *to = type ? number("FAKE_NVML_ECC", 0) : 0;
  return OK;
}
ret nvmlDeviceGetRemappedRows(dev *d, unsigned *corrected, unsigned *uncorrected, unsigned *pending, unsigned *failed) {
  *corrected = 1, *uncorrected = 2, *pending = number("FAKE_NVML_ROWS_PENDING", 0), *failed = number("FAKE_NVML_ROWS_FAILED", 0);
  return OK;
}
ret nvmlDeviceGetFieldValues(dev *d, int count, field *to) {
  for (int i = 0; i < count; i++) {
    int recovery = to[i].field == 230, heat = to[i].field == 82;
    to[i].result = recovery || heat ? OK : NOT_SUPPORTED;
    to[i].value.l = 0;
    to[i].value.u = recovery ? number("FAKE_NVML_RECOVERY", 0) : 61;
  }
  return OK;
}
ret nvmlDeviceGetBAR1MemoryInfo(dev *d, bar1 *to) { to->total = 1 << 20, to->used = 1 << 10, to->free = 0; return OK; }
ret nvmlDeviceGetComputeRunningProcesses_v3(dev *d, unsigned *count, process *to) {
  if (*count < 1) { *count = 1; return TOO_SMALL; }
  *count = 1;
  to[0].pid = d->index ? 4242 : number("FAKE_NVML_PID", 4242), to[0].used = 512 << 20, to[0].instance = to[0].compute = 0xffffffff;
  return OK;
}
ret nvmlDeviceGetMigMode(dev *d, unsigned *now, unsigned *then) {
  *now = *then = mig(d);
  return number("FAKE_NVML_MIG", 0) ? OK : NOT_SUPPORTED;
}
ret nvmlDeviceGetMaxMigDeviceCount(dev *d, unsigned *to) { *to = 3; return OK; }
ret nvmlDeviceGetMigDeviceHandleByIndex(dev *d, unsigned slot, dev **to) {
  if (slot == 1) return NOT_FOUND;
  *to = &P[slot ? 1 : 0];
  return OK;
}
ret nvmlDeviceGetGpuInstanceId(dev *d, unsigned *to) { *to = 7 + d->part; return d->part < 0 ? NOT_SUPPORTED : OK; }
ret nvmlEventSetCreate(void **to) { *to = &told; return OK; }
ret nvmlDeviceGetSupportedEventTypes(dev *d, unsigned long long *to) { *to = 0x8; return OK; }
ret nvmlDeviceRegisterEvents(dev *d, unsigned long long types, void *set) { return types == 0x8 ? OK : NOT_SUPPORTED; }
ret nvmlEventSetWait_v2(void *set, event *to, unsigned milliseconds) {
  int xid = number("FAKE_NVML_XID", 0);
  if (!xid || told == xid) return TIMEOUT;
  told = xid;
  to->device = &D[0], to->type = 0x8, to->data = xid;
  return OK;
}
/* Two samples make 42 per cent; a GPM sample is only a place in memory. */
ret nvmlGpmQueryDeviceSupport(dev *d, unsigned *to) { to[1] = number("FAKE_NVML_MIG", 0); return OK; }
ret nvmlGpmSampleAlloc(void **to) { *to = malloc(1); return OK; }
ret nvmlGpmSampleGet(dev *d, void *sample) { return OK; }
ret nvmlGpmMigSampleGet(dev *d, unsigned instance, void *sample) { return OK; }
typedef struct { unsigned id; ret result; double value; const char *names[3]; } metric;
typedef struct { unsigned version, count; void *before, *after; metric metrics[1]; } metrics;
ret nvmlGpmMetricsGet(metrics *to) { to->metrics[0].result = OK, to->metrics[0].value = 42.0; return OK; }

"""Answers of vendors' tools. None was recorded on such a machine by this project: each is written after the format
that its comment names, with the keys and units that are documented there.
"""

# nvidia-smi --query-gpu=… --format=csv,noheader,nounits: NVIDIA's help of --query-gpu; N/A forms as parsers meet them.
NVIDIA_SMI = """\
GPU-5e1d0e0a-0000-4000-8000-000000000001, NVIDIA GeForce RTX 4090, 00000000:01:00.0, 24564, 550.54.15, 8.9, [N/A], None
GPU-5e1d0e0a-0000-4000-8000-000000000002, NVIDIA GB10, 0000000F:01:00.0, [N/A], 580.95.05, 12.1, [N/A], ATS
"""

# amd-smi list --json, the bare list of ROCm 6.
AMD_SMI_LIST = '[{"gpu": 0, "bdf": "0000:03:00.0", "uuid": "a3ff744c-0000-1000-80d7-de1c5a39a1ba"}]'
# amd-smi list --json of newer releases, which wrap it.
AMD_SMI_LIST_NEWER = '{"gpu_data": [{"gpu": 0, "bdf": "0000:03:00.0", "uuid": "N/A"}]}'
# amd-smi static --json: {"value", "unit"} pairs or "N/A".
AMD_SMI_STATIC = """[{"gpu": 0,
  "asic": {"market_name": "Radeon RX 7900 XTX", "num_compute_units": 96, "target_graphics_version": "gfx1100"},
  "vram": {"type": "GDDR6", "vendor": "SAMSUNG", "size": {"value": 24560, "unit": "MB"}},
  "driver": {"name": "amdgpu", "version": "6.10.5"},
  "limit": {"max_power": {"value": 339, "unit": "W"}}}]"""

# rocm-smi --showproductname --showbus --showmeminfo vram --showdriverversion --json of ROCm 5 and 6.
ROCM_SMI = """{"card0": {"Card Series": "Radeon RX 6800", "GFX Version": "gfx1030", "PCI Bus": "0000:0B:00.0",
  "VRAM Total Memory (B)": "17163091968", "VRAM Total Used Memory (B)": "1024"},
  "system": {"Driver version": "6.3.6"}}"""

# system_profiler SPDisplaysDataType -json on an Apple chip.
APPLE_DISPLAYS = """{"SPDisplaysDataType": [{"_name": "Apple M3 Max", "spdisplays_mtlgpufamilysupport":
  "spdisplays_metal3", "spdisplays_vendor": "sppci_vendor_Apple", "sppci_cores": "40",
  "sppci_device_type": "spdisplays_gpu", "sppci_model": "Apple M3 Max"}]}"""
# The same on a Mac with an Intel processor and a card of its own.
INTEL_MAC_DISPLAYS = """{"SPDisplaysDataType": [{"_name": "kHW_AMDRadeonPro5500MItem",
  "spdisplays_mtlgpufamilysupport": "spdisplays_metal3", "spdisplays_vendor": "sppci_vendor_amd",
  "spdisplays_vram": "8 GB", "sppci_model": "AMD Radeon Pro 5500M"}]}"""
APPLE_SYSCTLS = {
    "sysctl -n hw.memsize": "68719476736\n",
    "sysctl -n hw.model": "Mac15,9\n",
    "sysctl -n machdep.cpu.brand_string": "Apple M3 Max\n",
    "sysctl -n iogpu.wired_limit_mb": "0\n",
    "sysctl -n hw.ncpu": "16\n",
}
# ioreg -r -d 1 -w 0 -c IOAccelerator -a: a property list with PerformanceStatistics.
IOREG = """<?xml version="1.0" encoding="UTF-8"?>
<plist version="1.0"><array><dict><key>PerformanceStatistics</key><dict>
<key>Device Utilization %</key><integer>17</integer>
<key>Renderer Utilization %</key><integer>15</integer>
<key>In use system memory</key><integer>1234567</integer>
<key>Alloc system memory</key><integer>7654321</integer>
</dict></dict></array></plist>
"""
# pmset -g batt.
PMSET = """Now drawing from 'Battery Power'
 -InternalBattery-0 (id=12345678)	85%; discharging; 5:12 remaining present: true
"""

# vulkaninfo --summary of vulkan-tools: an integrated GPU, a card, and the software renderer of Mesa.
VULKANINFO = """\
==========
VULKANINFO
==========

Vulkan Instance Version: 1.3.275

Devices:
========
GPU0:
	apiVersion         = 1.3.274
	driverVersion      = 24.0.5
	vendorID           = 0x8086
	deviceID           = 0x46a6
	deviceType         = PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU
	deviceName         = Intel(R) Graphics (ADL GT2)
	driverID           = DRIVER_ID_INTEL_OPEN_SOURCE_MESA
	driverName         = Intel open-source Mesa driver
	driverInfo         = Mesa 24.0.5
	deviceUUID         = 868080a6-4600-0000-0002-000000000000
GPU1:
	apiVersion         = 1.3.274
	driverVersion      = 24.0.5
	vendorID           = 0x1002
	deviceID           = 0x73bf
	deviceType         = PHYSICAL_DEVICE_TYPE_DISCRETE_GPU
	deviceName         = AMD Radeon RX 6800 (RADV NAVI21)
	driverName         = radv
	driverInfo         = Mesa 24.0.5
	deviceUUID         = 00000000-0b00-0000-0000-000000000000
GPU2:
	apiVersion         = 1.3.274
	driverVersion      = 0.0.1
	vendorID           = 0x10005
	deviceID           = 0x0000
	deviceType         = PHYSICAL_DEVICE_TYPE_CPU
	deviceName         = llvmpipe (LLVM 17.0.6, 256 bits)
	driverName         = llvmpipe
	deviceUUID         = 6d657361-3234-2e30-2e35-000000000000
"""

# Get-ItemProperty of the display class and Get-PnpDevice, as ConvertTo-Json writes the selected properties.
WINDOWS_GPUS = r"""[{"DriverDesc": "AMD Radeon RX 7900 XTX", "DriverVersion": "31.0.24033.1003",
  "MatchingDeviceId": "PCI\\VEN_1002&DEV_744C&REV_C8", "MemoryBytes": 25753026560},
  {"DriverDesc": "NVIDIA GeForce RTX 4090", "DriverVersion": "32.0.15.6094",
  "MatchingDeviceId": "PCI\\VEN_10DE&DEV_2684", "MemoryBytes": 25757220864},
  {"DriverDesc": "Microsoft Basic Display Adapter", "DriverVersion": "10.0.1", "MatchingDeviceId": "PCI\\CC_0300",
  "MemoryBytes": null}]"""
WINDOWS_NPUS = r"""[{"FriendlyName": "Intel(R) AI Boost", "InstanceId": "PCI\\VEN_8086&DEV_7D1D\\3&11583659&0&58",
  "Manufacturer": "Intel Corporation", "Status": "OK"},
  {"FriendlyName": "NPU Compute Accelerator Device", "InstanceId": "PCI\\VEN_1022&DEV_1502\\4&1",
  "Manufacturer": "AMD", "Status": "Error"}]"""

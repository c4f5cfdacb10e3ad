const numberOf = (address: string): number =>
  address.split('.').reduce((number, octet) => number * 256 + Number(octet), 0);

/** Azure keeps the first four addresses of a subnet and its last one (Virtual Network FAQ). */
const keptFirst = 4;

/** May a virtual machine have this IPv4 address in a subnet of this prefix, like `10.0.0.0/24`? */
export function isUsableAddress(addressPrefix: string, address: string): boolean {
  const [network = '', bits = ''] = addressPrefix.split('/');
  const size = 2 ** (32 - Number(bits));
  const first = Math.floor(numberOf(network) / size) * size;
  const number = numberOf(address);
  return number >= first + keptFirst && number < first + size - 1;
}

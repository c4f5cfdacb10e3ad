/**
 * The addresses of an IPv4 prefix that a VM may have, ascending. As in Azure, the first four and the last one of a
 * subnet are not given out.
 */
export function* usableAddresses(addressPrefix: string): Iterable<string> {
  const [network = '', bits = ''] = addressPrefix.split('/');
  const octets = network.split('.').map(Number);
  const prefixLength = Number(bits);
  const isOctet = (octet: number): boolean => Number.isInteger(octet) && octet >= 0 && octet <= 255;
  if (octets.length !== 4 || !octets.every(isOctet) || bits === '' || !(prefixLength >= 0 && prefixLength <= 32)) {
    throw new Error(`${addressPrefix} is not an IPv4 address prefix`);
  }
  const size = 2 ** (32 - prefixLength);
  const address = octets.reduce((number, octet) => number * 256 + octet, 0);
  const first = address - (address % size);
  for (let number = first + 4; number < first + size - 1; number++) {
    yield [24, 16, 8, 0].map((shift) => Math.floor(number / 2 ** shift) % 256).join('.');
  }
}

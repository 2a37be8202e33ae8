/** What to say to a person of that name. */
export function greeting(name) {
  const trimmed = name.trim();
  return trimmed ? `Hello, ${trimmed}!` : "Hello!";
}

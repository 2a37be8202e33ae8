package blob

import "strings"

// Objects are named by their key with an exclamation mark at the end. So "a" is no
// folder of "a/b", which stores that stand on a file system could not keep both.
// What sorts before the mark is written with a quote, so that objects and keys have
// one order and a list need not be sorted.
const mark = "!"

func objectEscapes() *strings.Replacer { return strings.NewReplacer(" ", `"0`, "!", `"1`, `"`, `"2`) }

// object is the name of a key's object below the prefix of the store.
func object(key string) string { return objectPrefix(key) + mark }

// objectPrefix is what the names of all objects begin with whose keys begin with prefix.
func objectPrefix(prefix string) string { return objectEscapes().Replace(prefix) }

// objectKey undoes object; false for a name that object does not make.
func objectKey(name string) (string, bool) {
	bare, ok := strings.CutSuffix(name, mark)
	if !ok {
		return "", false
	}
	key := strings.NewReplacer(`"0`, " ", `"1`, "!", `"2`, `"`).Replace(bare)
	return key, CheckKey(key) == nil && object(key) == name
}

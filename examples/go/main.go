// Command greet greets people.
package main

import (
	"fmt"
	"os"
)

func main() {
	for _, name := range os.Args[1:] {
		fmt.Println(greeting(name))
	}
}

package report

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/sluice-ci/sluice/internal/ci"
)

// needNetwork skips what installs packages, where nobody asked for it.
func needNetwork(t *testing.T) {
	t.Helper()
	if os.Getenv("CI") == "" && os.Getenv("SLUICE_TEST_NETWORK") == "" {
		t.Skip("needs package registries; set SLUICE_TEST_NETWORK=1 where they can be reached")
	}
}

// TestRealCoveragePy installs pytest and coverage.py from the registry.
func TestRealCoveragePy(t *testing.T) {
	t.Parallel()
	needNetwork(t)
	needTool(t, "python3", "-m", "venv", "--help")
	dir := t.TempDir()
	pySource(t, dir)
	python := filepath.Join(dir, ".venv", "bin", "python")
	runTool(t, dir, "", "python3", "-m", "venv", ".venv")
	runTool(t, dir, "", python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "pytest", "coverage")
	runTool(t, dir, "", python, "-m", "coverage", "run", "--branch", "--source=.", "--omit=.venv/*", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--junitxml=junit.xml")
	runTool(t, dir, "", python, "-m", "coverage", "xml", "-o", "coverage.xml")
	runTool(t, dir, "", python, "-m", "coverage", "lcov", "-o", "coverage.lcov")
	wantPytest(t, read(t, dir, "JUNITXML", "junit.xml"))
	want := ci.Coverage{LinesCovered: 3, LinesMissed: 1, BranchesCovered: 1, BranchesMissed: 1}
	for format, file := range map[string]string{"COBERTURAXML": "coverage.xml", "LCOV": "coverage.lcov"} {
		c := read(t, dir, format, file)
		i := slices.IndexFunc(c.Sources, func(s ci.FileCoverage) bool { return s.Path == "cart.py" })
		if i < 0 || c.Sources[i].Coverage != want {
			t.Errorf("%s: %+v, want cart.py with %+v", format, c.Sources, want)
		}
	}
}

const pom = `<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>com.example</groupId><artifactId>shop</artifactId><version>1</version>
  <properties><maven.compiler.source>11</maven.compiler.source><maven.compiler.target>11</maven.compiler.target>
    <project.build.sourceEncoding>UTF-8</project.build.sourceEncoding></properties>
  <dependencies><dependency><groupId>org.junit.jupiter</groupId><artifactId>junit-jupiter</artifactId><version>5.10.2</version><scope>test</scope></dependency></dependencies>
  <build><plugins>
    <plugin><artifactId>maven-surefire-plugin</artifactId><version>3.2.5</version>
      <configuration><rerunFailingTestsCount>1</rerunFailingTestsCount><testFailureIgnore>true</testFailureIgnore></configuration></plugin>
    <plugin><groupId>org.jacoco</groupId><artifactId>jacoco-maven-plugin</artifactId><version>0.8.12</version>
      <executions><execution><goals><goal>prepare-agent</goal></goals></execution>
        <execution><id>r</id><phase>test</phase><goals><goal>report</goal></goals></execution></executions></plugin>
  </plugins></build>
</project>`

// TestRealMaven runs Surefire, with reruns, and JaCoCo.
func TestRealMaven(t *testing.T) {
	t.Parallel()
	needNetwork(t)
	needTool(t, "mvn")
	dir := t.TempDir()
	write(t, dir, "pom.xml", pom)
	write(t, dir, "src/main/java/com/example/Cart.java", `package com.example;
public class Cart {
  public static int add(int a, int b) {
    if (a > 100) {
      return 100;
    }
    return a + b;
  }
}
`)
	write(t, dir, "src/test/java/com/example/CartTest.java", `package com.example;
import static org.junit.jupiter.api.Assertions.*;
import org.junit.jupiter.api.*;
class CartTest {
  static int runs = 0;
  @Test void right() { assertEquals(3, Cart.add(1, 2)); }
  @Test void wrong() { System.out.println("noise ]]> <testcase/>"); assertEquals(4, Cart.add(1, 2), "<sum>"); }
  @Test void flickers() { assertTrue(++runs > 1, "first time"); }
  @Test void explodes() { throw new IllegalStateException("no"); }
  @Disabled("no moon") @Test void later() { }
}
`)
	runTool(t, dir, "", "mvn", "-B", "-q", "-ntp", "test")
	r := read(t, dir, "JUNITXML", "target/surefire-reports/TEST-com.example.CartTest.xml")
	wantSummary(t, r, ci.TestSummary{Total: 5, Succeeded: 2, Failed: 1, Error: 1, Skipped: 1})
	wantCase(t, r, "wrong", ci.TestFailed, "<sum> ==> expected: <4> but was: <3>")
	wantCase(t, r, "flickers", ci.TestSucceeded, "first time")
	wantCase(t, r, "explodes", ci.TestError, "IllegalStateException: no")
	wantCase(t, r, "later", ci.TestSkipped, "no moon")
	c := read(t, dir, "JACOCOXML", "target/site/jacoco/jacoco.xml")
	want := ci.FileCoverage{Path: "com/example/Cart.java", Coverage: ci.Coverage{LinesCovered: 2, LinesMissed: 2, BranchesCovered: 1, BranchesMissed: 1}}
	if len(c.Sources) != 1 || c.Sources[0] != want {
		t.Errorf("coverage %+v, want %+v", c.Sources, want)
	}
}

package peers;

import com.sun.management.OperatingSystemMXBean;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.lang.management.GarbageCollectorMXBean;
import java.lang.management.ManagementFactory;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Locale;
import java.util.Map;
import java.util.stream.Collectors;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.runtime.jobgraph.JobGraph;
import org.apache.flink.runtime.minicluster.MiniCluster;
import org.apache.flink.runtime.minicluster.MiniClusterConfiguration;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;

/**
 * Runs the job of a case each time that a line with its name comes in, and says what it took as a line
 * of JSON. Arguments are `suite=`, `case=`, which is run first for warming up, `workers=`, and, where it
 * applies, `records=`, `file=`, `checkpoints=` and `folder=`; of `latency`, whose case is events a second,
 * `keys=`, and in seconds `warm-up=` and `lasts=`.
 */
public final class Main {
    /** How long jobs are run before the first one counts: what is compiled later is little. */
    private static final double WARM_UP_SECONDS =
            Double.parseDouble(System.getProperty("warm.up.seconds", "10"));

    private final Map<String, String> arguments;
    private final Configuration configuration;
    private final MiniCluster cluster;

    private Main(String[] arguments) throws Exception {
        this.arguments = Arrays.stream(arguments)
                .map(argument -> argument.split("=", 2))
                .collect(Collectors.toMap(pair -> pair[0], pair -> pair[1]));
        configuration = configuration();
        switch (argument("suite")) {
            case "nexmark" -> Nexmark.events = Events.read(Path.of(argument("file")));
            case "word-count" -> WordCount.lines = lines(Path.of(argument("file")));
            default -> {}
        }
        cluster = new MiniCluster(new MiniClusterConfiguration.Builder()
                .setConfiguration(configuration)
                .setNumTaskManagers(1)
                .setNumSlotsPerTaskManager(Integer.parseInt(argument("workers")))
                .build());
        cluster.start();
    }

    public static void main(String[] arguments) {
        try {
            serve(new Main(arguments));
        } catch (Exception error) {
            error.printStackTrace();
            Throwable cause = error;
            while (cause.getCause() != null) {
                cause = cause.getCause();
            }
            System.err.println(cause);
            // The cluster's threads would keep the process.
            System.exit(1);
        }
    }

    private static void serve(Main main) throws Exception {
        double seconds = 0;
        while (seconds < WARM_UP_SECONDS) {
            long started = System.nanoTime();
            main.run(main.argument("case"));
            seconds += (System.nanoTime() - started) / 1e9;
        }
        System.out.println("ready");
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            System.out.println(main.run(line));
        }
        main.cluster.close();
    }

    private static byte[][] lines(Path path) throws IOException {
        try (var lines = Files.lines(path)) {
            return lines.map(line -> line.getBytes(StandardCharsets.ISO_8859_1)).toArray(byte[][]::new);
        }
    }

    private String argument(String name) {
        String value = arguments.get(name);
        if (value == null) {
            throw new IllegalArgumentException("the argument " + name + "= is missing");
        }
        return value;
    }

    private Configuration configuration() {
        Configuration configuration = new Configuration();
        configuration.setString("rest.bind-port", "0");
        configuration.setString("parallelism.default", argument("workers"));
        // Chained operators hand records on as they are, and what is deserialised is so into one record.
        configuration.setString("pipeline.object-reuse", "true");
        // A type that only Kryo could serialise is an error.
        configuration.setString("pipeline.generic-types", "false");
        configuration.setString("state.backend.type", "hashmap");
        configuration.setString("taskmanager.memory.network.min", "256mb");
        configuration.setString("taskmanager.memory.network.max", "256mb");
        if (arguments.containsKey("checkpoints")) {
            Path folder = Path.of(argument("folder"), "flink-checkpoints").toAbsolutePath();
            configuration.setString("execution.checkpointing.interval", argument("checkpoints"));
            configuration.setString("execution.checkpointing.storage", "filesystem");
            configuration.setString("execution.checkpointing.dir", folder.toUri().toString());
            // What fails is said, and not tried again for ever, as is the default with checkpoints.
            configuration.setString("restart-strategy.type", "none");
        }
        if (isLatency()) {
            Latency.configure(configuration);
        }
        return configuration;
    }

    private boolean isLatency() {
        return argument("suite").equals("latency");
    }

    private Latency latency() {
        return new Latency(
                Long.parseLong(argument("keys")),
                Double.parseDouble(argument("warm-up")),
                Double.parseDouble(argument("lasts")));
    }

    private long records() {
        return Long.parseLong(argument("records"));
    }

    private void build(StreamExecutionEnvironment env, String name) {
        switch (argument("suite")) {
            case "keyed-count" -> KeyedCount.build(env, records(), Long.parseLong(name));
            case "word-count" -> WordCount.build(env, records());
            case "latency" -> latency().build(env, Double.parseDouble(name));
            case "nexmark" -> Nexmark.build(env, name);
            default -> throw new IllegalArgumentException("there is no suite " + argument("suite"));
        }
    }

    private String run(String name) throws Exception {
        System.gc();
        Files.writeString(Path.of("/proc/self/clear_refs"), "5");
        var system = (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
        long pausesBefore = collectorMs();
        long cpuBefore = system.getProcessCpuTime();
        long started = System.nanoTime();
        var env = new StreamExecutionEnvironment(configuration);
        build(env, name);
        JobGraph graph = env.getStreamGraph().getJobGraph();
        cluster.executeJobBlocking(graph);
        double seconds = (System.nanoTime() - started) / 1e9;
        double cpuSeconds = (system.getProcessCpuTime() - cpuBefore) / 1e9;
        if (isLatency()) {
            String found = latency().found(
                    Double.parseDouble(name), arguments.containsKey("checkpoints"), checkpoints(graph));
            return String.format(
                    Locale.ROOT,
                    "{%s, \"collector_ms\": %d, \"cpu_seconds\": %.2f}",
                    found,
                    collectorMs() - pausesBefore,
                    cpuSeconds);
        }
        long[] totals = Digest.take();
        return String.format(
                "{\"seconds\": %.6f, \"cpu_seconds\": %.2f, \"peak_memory_bytes\": %d, \"rows\": %d, \"digest\": \"%016x\"}",
                seconds, cpuSeconds, peakMemory(), totals[0], totals[1]);
    }

    private static long collectorMs() {
        var collectors = ManagementFactory.getGarbageCollectorMXBeans();
        return collectors.stream().mapToLong(GarbageCollectorMXBean::getCollectionTime).sum();
    }

    /** How many checkpoints of a job that has ended were completed. */
    private long checkpoints(JobGraph graph) throws Exception {
        var checkpoints = cluster.getExecutionGraph(graph.getJobID()).get().getCheckpointStatsSnapshot();
        return checkpoints == null ? 0 : checkpoints.getCounts().getNumberOfCompletedCheckpoints();
    }

    private static long peakMemory() throws IOException {
        try (var lines = Files.lines(Path.of("/proc/self/status"))) {
            String line = lines.filter(each -> each.startsWith("VmHWM:")).findFirst().orElseThrow();
            return Long.parseLong(line.replaceAll("[^0-9]", "")) * 1024;
        }
    }
}

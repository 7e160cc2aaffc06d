import java.nio.ByteBuffer;
import java.util.*;
import java.util.concurrent.*;
import java.util.stream.*;
import java.util.zip.*;

/** Threads that allocate on and off the heap of the virtual machine; compression is native code. */
public class Work {
    static long one(int seed) throws Exception {
        Random random = new Random(seed);
        Map<String, List<Integer>> index = new TreeMap<>();
        for (int i = 0; i < 40_000; i++) {
            index.computeIfAbsent("k" + random.nextInt(5_000), key -> new ArrayList<>()).add(i);
        }
        byte[] text = index.toString().getBytes();
        CRC32 check = new CRC32();
        for (int level = 1; level <= 9; level += 4) {
            Deflater deflater = new Deflater(level);
            deflater.setInput(text);
            deflater.finish();
            byte[] packed = new byte[text.length + 100];
            int size = deflater.deflate(packed);
            deflater.end();
            Inflater inflater = new Inflater();
            inflater.setInput(packed, 0, size);
            byte[] back = new byte[text.length];
            inflater.inflate(back);
            inflater.end();
            check.update(back);
        }
        for (int i = 0; i < 100; i++) {
            ByteBuffer buffer = ByteBuffer.allocateDirect(random.nextInt(100_000) + 8);
            buffer.putInt(4, i);
            check.update(buffer.getInt(4));
        }
        return check.getValue();
    }

    public static void main(String[] arguments) throws Exception {
        ExecutorService threads = Executors.newFixedThreadPool(6);
        List<Future<Long>> results = new ArrayList<>();
        for (int i = 0; i < 24; i++) {
            int seed = i;
            results.add(threads.submit(() -> one(seed)));
        }
        for (Future<Long> result : results) {
            System.out.println(result.get());
        }
        threads.shutdown();
        System.out.println(IntStream.range(0, 100_000).parallel().mapToObj(i -> "n" + i % 100).collect(Collectors.groupingByConcurrent(s -> s)).size());
    }
}

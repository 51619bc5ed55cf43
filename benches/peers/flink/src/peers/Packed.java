package peers;

import java.io.IOException;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;
import org.apache.flink.types.CopyableValue;

/**
 * A record that writes and reads itself: no reflection, as POJOs need, and no boxes, as tuples need.
 */
public interface Packed<T extends Packed<T>> extends CopyableValue<T> {
    T empty();

    @Override
    default int getBinaryLength() {
        return -1;
    }

    @Override
    default T copy() {
        T copy = empty();
        copyTo(copy);
        return copy;
    }

    @Override
    default void copy(DataInputView source, DataOutputView target) throws IOException {
        T record = empty();
        record.read(source);
        record.write(target);
    }
}
